import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { run } from '../../src/linux/exec.ts';
import { libraryClosure, unpackPackages } from '../debian/packages.ts';
import type { ImageRecipe } from './catalog.ts';

/** Where images wait to be loaded: `<checkout>/.toolchain/images`. */
export function imageArchive(imagesFolder: string, recipe: ImageRecipe): string {
  const fingerprint = createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 12);
  return join(imagesFolder, `${recipe.name.replace(/[/:]/g, '_')}-${fingerprint}.tar`);
}

/** Builds the image as an archive that `POST /images/load` takes, unless the same recipe was built before. Returns the archive's path. */
export async function buildImage(recipe: ImageRecipe, imagesFolder: string): Promise<string> {
  const archive = imageArchive(imagesFolder, recipe);
  if (existsSync(archive)) return archive;
  const work = mkdtempSync(join(tmpdir(), 'berth-image-'));
  try {
    const root = join(work, 'root');
    const unpacked = join(work, 'packages');
    mkdirSync(unpacked);
    if (recipe.sidPackages) await unpackPackages(recipe.sidPackages, unpacked, { suite: 'sid' });
    if (recipe.packages.length > 0) {
      const libraries = await libraryClosure(recipe.packages);
      await unpackPackages([...new Set([...recipe.packages, ...libraries])], unpacked);
    }
    await fillRoot(recipe, root, unpacked);
    const image = join(work, 'image');
    await writeImage(recipe, root, image);
    mkdirSync(imagesFolder, { recursive: true });
    const partial = `${archive}.${process.pid}`;
    await run('tar', [...DETERMINISTIC, '-C', image, '-cf', partial, '.'], { timeoutMs: 60_000 });
    renameSync(partial, archive);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return archive;
}

/** Equal content gives equal bytes, so equal image ids. */
const DETERMINISTIC = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];

async function fillRoot(recipe: ImageRecipe, root: string, unpacked: string): Promise<void> {
  const place = (path: string) => {
    const target = join(root, path);
    mkdirSync(dirname(target), { recursive: true });
    return target;
  };
  mkdirSync(root);
  for (const folder of recipe.folders) mkdirSync(join(root, folder), { recursive: true });
  if (recipe.folders.includes('/tmp')) chmodSync(join(root, 'tmp'), 0o1777);
  for (const [path, source] of Object.entries(recipe.programs)) {
    const program = source.startsWith('host:') ? await hostProgram(source.slice(5)) : join(unpacked, source);
    copyFileSync(program, place(path));
    chmodSync(join(root, path), 0o755);
    for (const library of await sharedLibraries(program, unpacked))
      copyFileSync(realpathSync(library.file), place(library.path));
  }
  for (const [path, source] of Object.entries(recipe.files)) copyFileSync(join(unpacked, source), place(path));
  for (const [path, text] of Object.entries(recipe.texts)) writeFileSync(place(path), text);
  for (const [path, target] of Object.entries(recipe.links)) {
    if (path === '*') {
      for (const applet of await busyboxApplets(join(unpacked, 'usr/bin/busybox')))
        if (applet !== 'busybox') symlinkSync(target, place(`/bin/${applet}`));
    } else symlinkSync(target, place(path));
  }
}

async function hostProgram(name: string): Promise<string> {
  const { stdout } = await run(
    'sh',
    ['-c', 'PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin; command -v "$1"', 'sh', name],
    { timeoutMs: 5000 },
  );
  return stdout.trim();
}

async function busyboxApplets(program: string): Promise<string[]> {
  const { stdout } = await run(program, ['--list'], { timeoutMs: 5000 });
  return stdout.split('\n').filter(Boolean);
}

/** What the dynamic linker would load, packages' libraries before the host's; nothing for a static program. */
async function sharedLibraries(program: string, unpacked: string): Promise<{ file: string; path: string }[]> {
  const multiarch = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const search = ['lib', 'usr/lib'].map((folder) => join(unpacked, folder, multiarch)).join(':');
  const { stdout } = await run(
    'sh',
    ['-c', 'LD_LIBRARY_PATH="$1" ldd "$2" 2>/dev/null || true', 'sh', search, program],
    { timeoutMs: 10_000 },
  );
  const libraries: { file: string; path: string }[] = [];
  for (const line of stdout.split('\n')) {
    const [, name, resolved] = /^\s*(\S+)\s+=>\s+(\S+)/.exec(line) ?? [];
    const loader = /^\s*(\/\S*ld-linux\S*)/.exec(line)?.[1];
    if (loader) libraries.push({ file: loader, path: loader });
    else if (resolved === 'not')
      throw new Error(`image: ${basename(program)} needs ${name}, which neither the packages nor the host have`);
    else if (name && resolved) libraries.push({ file: resolved, path: `/lib/${multiarch}/${basename(name)}` });
  }
  return libraries;
}

/** The layout of `docker save`: manifest.json, the configuration and one layer. */
async function writeImage(recipe: ImageRecipe, root: string, image: string): Promise<void> {
  mkdirSync(join(image, 'layer'), { recursive: true });
  const layer = join(image, 'layer', 'layer.tar');
  await run('tar', [...DETERMINISTIC, '-C', root, '-cf', layer, '.'], { timeoutMs: 60_000 });
  const diffId = createHash('sha256').update(readFileSync(layer)).digest('hex');
  const config = JSON.stringify({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: {
      Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
      Entrypoint: recipe.entrypoint.length > 0 ? recipe.entrypoint : null,
      Cmd: recipe.command.length > 0 ? recipe.command : null,
      ExposedPorts: Object.fromEntries((recipe.exposedPorts ?? []).map((port) => [port, {}])),
    },
    rootfs: { type: 'layers', diff_ids: [`sha256:${diffId}`] },
    history: [{ created: '1970-01-01T00:00:00Z', created_by: 'berth' }],
  });
  const configName = `${createHash('sha256').update(config).digest('hex')}.json`;
  writeFileSync(join(image, configName), config);
  writeFileSync(
    join(image, 'manifest.json'),
    JSON.stringify([{ Config: configName, RepoTags: [recipe.name], Layers: ['layer/layer.tar'] }]),
  );
}
