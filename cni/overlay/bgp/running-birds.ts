import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CONTROL_SOCKET, MAIN_FILE, PID_FILE } from './bird-config.ts';

/**
 * Directories of the BIRDs that an overlay has started in a network namespace, by their command lines: the configuration that named one may be
 * another by now. A BIRD of the host's own, or of another host on this machine, is none of them.
 * @param netns path of the namespace; the process's own unless given
 */
export async function findBirdDirectories(netns = '/proc/self/ns/net'): Promise<string[]> {
  const { ino } = await stat(netns);
  const found = new Set<string>();
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const directory = directoryOf((await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0'));
      if (directory !== undefined && (await stat(`/proc/${pid}/ns/net`)).ino === ino) found.add(directory);
    } catch {
      // It has ended meanwhile.
    }
  }
  return [...found];
}

/** Where all three files are as only an overlay gives them (bird-daemon.ts). Pure. */
export function directoryOf(words: readonly string[]): string | undefined {
  const after = (flag: string) => words[words.indexOf(flag) + 1] ?? '';
  const directory = dirname(after('-P'));
  const isOurs = [
    ['-c', MAIN_FILE],
    ['-s', CONTROL_SOCKET],
    ['-P', PID_FILE],
  ].every(([flag, name]) => words.includes(flag!) && after(flag!) === join(directory, name!));
  return isOurs ? directory : undefined;
}
