import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { openBeneath } from '../../src/linux/beneath.ts';

/** Refers to a file without opening it; not in Node's constants. */
const O_PATH = 0o10000000;
const { O_RDONLY, O_DIRECTORY } = constants;
/** Nobody has an environment of this size (execve(2) refuses it); a container must not fill the agent's memory. */
const MAX_BYTES = 1 << 20;

/**
 * The value of `key` in a file of lines `KEY='value'` (the Kubernetes env file format, strict since 1.35): values stand
 * in single quotes, literally and over several lines if need be; a comment may follow. Undefined when no line has the
 * key before the end or the first of its lines. Throws with the line's number when the file is malformed up to there.
 */
export function parseEnvFile(text: string, key: string): string | undefined {
  const lines = text.split('\n');
  // What follows the last line's end is no line.
  if (lines.at(-1) === '') lines.pop();
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!.replace(/^[ \t]+/, '').replace(/\r$/, '');
    if (line === '' || line.startsWith('#')) continue;
    const fail = (what: string) => new Error(`invalid environment variable format at line ${at + 1}: ${what}`);
    const equals = line.indexOf('=');
    if (equals < 0) throw fail("missing '='");
    const name = line.slice(0, equals);
    if (name.trim() === '') throw fail('empty variable name');
    if (/[ \t]$/.test(name)) throw fail("whitespace before '=' is not allowed");
    let rest = line.slice(equals + 1);
    if (/^[ \t]/.test(rest)) {
      // As a shell: `KEY= 'value'` leaves KEY empty.
      if (name === key) return '';
      continue;
    }
    if (!rest.startsWith("'")) throw fail('value must be enclosed in single quotes');
    rest = rest.slice(1);
    const started = at;
    const value: string[] = [];
    let end = rest.indexOf("'");
    while (end < 0) {
      value.push(rest);
      if (++at >= lines.length)
        throw new Error(`invalid environment variable format starting at line ${started + 1}: unclosed single quote`);
      rest = lines[at]!.replace(/\r$/, '');
      end = rest.indexOf("'");
    }
    value.push(rest.slice(0, end));
    if (!/^[ \t]*(#.*)?$/.test(rest.slice(end + 1))) throw fail('unexpected content after closing quote');
    if (name === key) return value.join('\n');
  }
  return undefined;
}

/**
 * The text of a file in a volume that containers write: no link leads out of the volume, and nothing but a regular file
 * is read. Undefined when there is no such file.
 */
export async function readVolumeFile(volumePath: string, path: string): Promise<string | undefined> {
  const directory = openSync(volumePath, O_PATH | O_DIRECTORY);
  let fd: number;
  try {
    fd = openBeneath(directory, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  } finally {
    closeSync(directory);
  }
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error(`${path} is not a regular file`);
    if (stats.size > MAX_BYTES) throw new Error(`${path} is larger than ${MAX_BYTES} bytes`);
    const file = await open(`/proc/self/fd/${fd}`, O_RDONLY);
    try {
      // It may grow meanwhile.
      const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } finally {
    closeSync(fd);
  }
}
