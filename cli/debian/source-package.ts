import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { run } from '../../src/linux/exec.ts';
import { UserError } from '../output/failure.ts';
import { APT_TIMEOUT_MS, createPrivateApt, withoutAddresses } from './apt.ts';

/**
 * Downloads the source package `name` of a Debian suite and unpacks it, Debian's patches applied, into `folder`, which must not exist.
 * Returns the upstream version: `1.20.2` of `1.20.5+really1.20.2-1.1`.
 */
export async function unpackSource(name: string, folder: string, options: { suite: string }): Promise<string> {
  const work = mkdtempSync(join(tmpdir(), 'berth-apt-'));
  try {
    const apt = await createPrivateApt(options.suite, work, ['deb-src']);
    const downloads = join(work, 'source');
    mkdirSync(downloads);
    await run('apt-get', [...apt, '-q=2', 'source', '--download-only', `${name}/${options.suite}`], {
      timeoutMs: APT_TIMEOUT_MS,
      cwd: downloads,
    });
    const description = readdirSync(downloads).find((file) => file.endsWith('.dsc'));
    if (!description) throw new Error(`apt-get source brought no .dsc file (${readdirSync(downloads).join(', ')})`);
    // apt has checked the archive's signature; the uploader's own key is none of this host's.
    await run('dpkg-source', ['--no-check', '--extract', join(downloads, description), folder], {
      timeoutMs: APT_TIMEOUT_MS,
    });
    return upstreamVersion(basename(description, '.dsc').slice(`${name}_`.length));
  } catch (error) {
    throw new UserError(
      `could not get Debian's source of ${name} from ${options.suite}: ${withoutAddresses((error as Error).message)}`,
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Debian's version without the epoch, revision and what packagers add when a version goes back or is repacked. */
export function upstreamVersion(debianVersion: string): string {
  return debianVersion
    .replace(/^\d+:/, '')
    .replace(/-[^-]*$/, '')
    .replace(/^.*\+really/, '')
    .replace(/[+~](?:ds|dfsg).*$/, '');
}
