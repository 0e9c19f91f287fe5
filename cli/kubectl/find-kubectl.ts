import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ExecError, run } from '../../src/linux/exec.ts';
import { unpackPackages } from '../debian/packages.ts';

/** Older ones can't talk to a modern server: 1.32 is the first that upstream's version skew lets near 1.36's APIs as we serve them. */
const OLDEST_MINOR = 32;

/**
 * The kubectl to use: the host's if it is new enough, else Debian's newest, unpacked below `folder` (the host stays as it is).
 * `say` hears about a download before it starts.
 */
export async function findKubectl(folder: string, say: (line: string) => void): Promise<string> {
  for (const program of ['/usr/local/bin/kubectl', '/usr/bin/kubectl']) {
    if (existsSync(program) && (await minorVersion(program)) >= OLDEST_MINOR) return program;
  }
  const own = join(folder, 'usr/bin/kubectl');
  if (existsSync(own)) return own;
  say(`no kubectl of version 1.${OLDEST_MINOR} or later on this host: getting Debian sid's beside it`);
  const partial = `${folder}.${process.pid}`;
  try {
    await unpackPackages(['kubectl'], partial, { suite: 'sid' });
    mkdirSync(dirname(folder), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return own;
}

async function minorVersion(program: string): Promise<number> {
  try {
    const { stdout } = await run(program, ['version', '--client', '-o', 'json'], {
      timeoutMs: 10_000,
      env: { HOME: '/nonexistent' },
    });
    return Number.parseInt(JSON.parse(stdout).clientVersion.minor, 10);
  } catch (error) {
    if (error instanceof ExecError || error instanceof SyntaxError || error instanceof TypeError) return 0;
    throw error;
  }
}
