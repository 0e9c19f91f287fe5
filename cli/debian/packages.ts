import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/linux/exec.ts';
import { UserError } from '../output/failure.ts';
import { APT_TIMEOUT_MS, createPrivateApt, withoutAddresses } from './apt.ts';

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
    const apt = options.suite ? await createPrivateApt(options.suite, work) : [];
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
