import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/linux/exec.ts';
import { UserError } from '../output/failure.ts';

/** Unpacking may take a slow mirror's time. */
const APT_TIMEOUT_MS = 300_000;

/**
 * Downloads Debian packages by name and unpacks them into `folder`, beside the system: nothing is installed.
 * With `suite` the packages come from that suite through an apt configuration of its own; else from the host's sources.
 */
export async function unpackPackages(
  packages: string[],
  folder: string,
  options: { suite?: string } = {},
): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'berth-apt-'));
  try {
    const apt = options.suite ? await privateApt(options.suite, work) : [];
    const names = options.suite ? packages.map((name) => `${name}/${options.suite}`) : packages;
    const downloads = join(work, 'debs');
    mkdirSync(downloads);
    const download = () =>
      run(
        'sh',
        [
          '-c',
          'cd "$0" && exec apt-get "$@"',
          downloads,
          ...apt,
          '-o',
          'APT::Sandbox::User=root',
          '-q=2',
          'download',
          ...names,
        ],
        { timeoutMs: APT_TIMEOUT_MS },
      );
    try {
      await download();
    } catch {
      await run('apt-get', [...apt, '-q=2', 'update'], { timeoutMs: APT_TIMEOUT_MS });
      await download();
    }
    mkdirSync(folder, { recursive: true });
    for (const file of readdirSync(downloads))
      await run('dpkg', ['-x', join(downloads, file), folder], { timeoutMs: APT_TIMEOUT_MS });
  } catch (error) {
    throw new UserError(
      `could not get the Debian packages ${packages.join(', ')}${options.suite ? ` from ${options.suite}` : ''}: ${withoutAddresses(String((error as Error).message))}`,
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The library packages (lib*) that the packages need, theirs included, all the way down. */
export async function libraryClosure(packages: string[]): Promise<string[]> {
  const no = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'].map(
    (relation) => `--no-${relation}`,
  );
  const { stdout } = await run('apt-cache', ['depends', '--recurse', ...no, ...packages], {
    timeoutMs: APT_TIMEOUT_MS,
  });
  const names = stdout.split('\n').filter((line) => /^lib[a-z0-9.+-]+$/.test(line));
  return [...new Set(names)].sort();
}

/** An apt with sources, lists and cache of its own below `work`; the system's stays as it is. Returns its command-line options. */
async function privateApt(suite: string, work: string): Promise<string[]> {
  const root = join(work, 'apt');
  mkdirSync(join(root, 'lists/partial'), { recursive: true });
  mkdirSync(join(root, 'cache/archives/partial'), { recursive: true });
  writeFileSync(
    join(root, 'sources.list'),
    `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${debianMirror()} ${suite} main\n`,
  );
  const settings = {
    'Dir::Etc::SourceList': join(root, 'sources.list'),
    'Dir::Etc::SourceParts': '/nonexistent',
    'Dir::State::Lists': join(root, 'lists'),
    'Dir::Cache': join(root, 'cache'),
    'Acquire::Languages': 'none',
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await run('apt-get', [...options, '-q=2', 'update'], { timeoutMs: APT_TIMEOUT_MS });
  return options;
}

/** The mirror that this host's own sources name; Berth knows none itself. */
function debianMirror(): string {
  const folder = '/etc/apt/sources.list.d';
  const files = [
    '/etc/apt/sources.list',
    ...readdirSync(folder)
      .sort()
      .map((name) => join(folder, name)),
  ];
  const candidates: string[] = [];
  for (const file of files) {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      continue;
    }
    candidates.push(
      ...[...text.matchAll(/^\s*(?:URIs:|deb\s+(?:\[[^\]]*\]\s*)?)\s*(\S+)/gm)].map((match) => match[1] ?? ''),
    );
  }
  const mirror = candidates.find((uri) => /\/debian\/?$/.test(uri)) ?? candidates[0];
  if (!mirror) throw new UserError('apt has no Debian source: /etc/apt/sources.list and sources.list.d name none');
  return mirror;
}

function withoutAddresses(text: string): string {
  return text.replace(/(https?):\/\/[^/ ]+/g, '$1://mirror');
}
