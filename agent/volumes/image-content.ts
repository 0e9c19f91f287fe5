import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DockerEngine, ImageDetail } from '../../src/docker/engine.ts';
import { run } from '../../src/linux/exec.ts';
import { type MountFlag, mountFileSystem } from '../../src/linux/mounts.ts';
import { removeTree } from '../../src/linux/remove-tree.ts';

/** Data only: nothing in it runs, whatever its bits say. */
const RESTRICTIONS: MountFlag[] = ['readOnly', 'noExec', 'noSuid', 'noDev'];
/** mount(2) takes one page of options. */
const MAX_OPTION_BYTES = 4000;
const UNPACK_TIMEOUT_MS = 30 * 60_000;

/**
 * The lower directories of an overlay mount that shows the image, topmost first; undefined when the Engine keeps layers in
 * another way (another storage driver, the containerd image store, another machine) or they are too many for one mount.
 */
export function overlayLowers(image: Pick<ImageDetail, 'layerDirectories'>): string[] | undefined {
  const layers = image.layerDirectories ?? [];
  if (layers.length === 0 || !layers.every((path) => existsSync(path))) return undefined;
  for (const paths of [layers, layers.map(shortPath)])
    if (!paths.some((path) => /[:,\\]/.test(path)) && Buffer.byteLength(paths.join(':')) <= MAX_OPTION_BYTES)
      return paths;
  return undefined;
}

/** The overlay2 driver keeps a link of 26 letters to each layer, for this very purpose. */
function shortPath(layer: string): string {
  const own = dirname(layer);
  try {
    return join(dirname(own), 'l', readFileSync(join(own, 'link'), 'utf8').trim());
  } catch {
    return layer;
  }
}

/** Shows layers at `target`, without a copy. They must not be deleted while it is mounted. */
export function mountLayers(lowers: readonly string[], target: string): void {
  const [only] = lowers;
  const data = `lowerdir=${lowers.join(':')}`;
  // An overlay needs two.
  if (lowers.length === 1) bindRestricted(only!, target);
  else mountFileSystem({ source: 'overlay', target, type: 'overlay', flags: RESTRICTIONS, data });
}

export function bindRestricted(source: string, target: string): void {
  mountFileSystem({ source, target, flags: ['bind'] });
  mountFileSystem({ source: 'none', target, flags: ['remount', 'bind', ...RESTRICTIONS] });
}

/** Copies what a container sees into `directory`, which appears when it is whole. Does nothing when it is there. */
export async function unpackContainer(
  docker: Pick<DockerEngine, 'exportContainer'>,
  id: string,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  if (existsSync(directory)) return;
  const partial = join(dirname(directory), `.${basename(directory)}.partial`);
  await removeTree(partial);
  await mkdir(partial, { recursive: true, mode: 0o750 });
  // The Engine's own mark, which is in no image.
  const flags = ['--numeric-owner', '--preserve-permissions', '--xattrs', '--xattrs-include=*', '--exclude=.dockerenv'];
  await run('tar', ['--extract', ...flags, `--directory=${partial}`, '--file=-'], {
    input: docker.exportContainer(id, signal),
    timeoutMs: UNPACK_TIMEOUT_MS,
    signal,
  });
  await rename(partial, directory);
}
