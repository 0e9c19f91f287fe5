import { randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';

export interface PayloadFile {
  data: Buffer;
  /** Permission bits. */
  mode: number;
  /** Owner, when it is not root. */
  uid?: number;
}

/** Relative path → file. */
export type Payload = ReadonlyMap<string, PayloadFile>;

const DATA_LINK = '..data';
const NEW_DATA_LINK = '..data_tmp';

/**
 * Makes the payload visible at once, as kubelet's AtomicWriter does:
 *
 *     target/key      → ..data/key
 *     target/..data   → ..2026_01_02_15_04_05.1a2b3c4d/      (swapped by rename)
 *
 * Readers see the old set or the new one, never a mixture. An unchanged payload writes nothing.
 * @returns whether something was written.
 */
export async function writeAtomically(
  target: string,
  payload: Payload,
  options: { gid?: number } = {},
): Promise<boolean> {
  for (const path of payload.keys()) checkPath(path);
  await mkdir(target, { recursive: true, mode: 0o755 });
  const current = await readlink(join(target, DATA_LINK)).catch(() => undefined);
  if (current && (await isSame(join(target, current), payload))) {
    await linkVisible(target, payload);
    return false;
  }
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-T:]/g, '_');
  const directory = `..${stamp}.${randomBytes(5).toString('hex')}`;
  await writePayload(join(target, directory), payload, options.gid);
  await rm(join(target, NEW_DATA_LINK), { force: true });
  await symlink(directory, join(target, NEW_DATA_LINK));
  await rename(join(target, NEW_DATA_LINK), join(target, DATA_LINK));
  await linkVisible(target, payload);
  await removeStale(target, payload, directory);
  return true;
}

/** True when an earlier `writeAtomically` has put its files there. */
export async function hasPayload(target: string): Promise<boolean> {
  return (await stat(join(target, DATA_LINK)).catch(() => undefined)) !== undefined;
}

function checkPath(path: string): void {
  const parts = path.split('/');
  if (path === '' || posix.isAbsolute(path) || parts.includes('..') || parts[0]!.startsWith('..'))
    throw new Error(
      `invalid path ${JSON.stringify(path)}: it must be relative, without ".." and must not start with ".."`,
    );
}

async function writePayload(root: string, payload: Payload, gid: number | undefined): Promise<void> {
  await mkdir(root, { mode: 0o755 });
  if (gid !== undefined) await ownDirectory(root, gid);
  for (const [path, { data, mode, uid }] of payload) {
    const file = join(root, path);
    await mkdir(dirname(file), { recursive: true, mode: 0o755 });
    await writeFile(file, data);
    // The umask must not take away what the spec gave; a group that owns the file can read it.
    await chmod(file, gid === undefined ? mode : mode | 0o040);
    if (uid !== undefined || gid !== undefined) await chown(file, uid ?? 0, gid ?? 0);
  }
}

async function ownDirectory(path: string, gid: number): Promise<void> {
  await chown(path, 0, gid);
  await chmod(path, 0o2755);
}

async function isSame(root: string, payload: Payload): Promise<boolean> {
  const present = new Set(await filesBelow(root));
  if (present.size !== payload.size) return false;
  for (const [path, { data, mode }] of payload) {
    if (!present.has(path)) return false;
    const file = join(root, path);
    if (!(await readFile(file)).equals(data)) return false;
    const have = (await lstat(file)).mode & 0o777;
    if (have !== mode && have !== (mode | 0o040)) return false;
  }
  return true;
}

async function filesBelow(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => posix.relative(root, join(entry.parentPath, entry.name)));
}

const topLevel = (payload: Payload) => new Set([...payload.keys()].map((path) => path.split('/')[0]!));

async function linkVisible(target: string, payload: Payload): Promise<void> {
  for (const name of topLevel(payload)) {
    const link = join(target, name);
    const wanted = `${DATA_LINK}/${name}`;
    if ((await readlink(link).catch(() => undefined)) === wanted) continue;
    await rm(link, { recursive: true, force: true });
    await symlink(wanted, link);
  }
}

async function removeStale(target: string, payload: Payload, keep: string): Promise<void> {
  const visible = topLevel(payload);
  for (const name of await readdir(target)) {
    const isOldData = name.startsWith('..') && name !== DATA_LINK && name !== keep;
    const isOldLink = !name.startsWith('..') && !visible.has(name);
    if (isOldData || isOldLink) await rm(join(target, name), { recursive: true, force: true });
  }
}
