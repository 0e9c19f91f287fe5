import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { unpackPackages } from '../../cli/debian/packages.ts';

/** Docker's newest packages in Debian, and the libraries that they are linked with. */
const PACKAGES = ['docker.io', 'containerd', 'runc', 'libc6', 'libseccomp2', 'libsystemd0', 'libcap2'];
const SUITE = 'sid';

/**
 * A folder with a newer Docker Engine than the machine's, in the cache directory of this user. It is copied over the root of a test's host:
 * its programs start each other by path, so that it cannot run from beside.
 */
export async function findNewerEngine(options: { fetch: boolean }): Promise<{ folder: string } | { missing: string }> {
  const folder = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'berth/newer-engine');
  if (existsSync(folder)) return { folder };
  if (!options.fetch)
    return { missing: `no newer Engine in the cache: 'berth test --full' gets one from Debian ${SUITE}` };
  const partial = `${folder}.${process.pid}`;
  mkdirSync(dirname(folder), { recursive: true });
  try {
    await unpackPackages(PACKAGES, partial, { suite: SUITE });
    renameSync(partial, folder);
    return { folder };
  } catch (error) {
    return { missing: (error as Error).message };
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
