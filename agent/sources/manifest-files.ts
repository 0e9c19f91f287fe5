import { constants } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_MANIFEST_BYTES } from './manifest.ts';
import type { ManifestText } from './static-set.ts';

/**
 * The manifests at a path: the file itself, or the files of a directory, in the order of their names. Names that begin with a dot are left
 * out, directories below are not entered. A path that does not exist has none.
 *
 * @throws when the path itself cannot be told from an empty one.
 */
export async function readManifestFiles(path: string): Promise<ManifestText[]> {
  const info = await stat(path).catch(ignoreMissing);
  if (!info) return [];
  if (info.isFile()) return [await readManifestFile(path)];
  if (!info.isDirectory()) throw new Error(`${path} is neither a file nor a directory`);
  const names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort();
  return await Promise.all(names.map((name) => readManifestFile(join(path, name))));
}

async function readManifestFile(origin: string): Promise<ManifestText> {
  let file: FileHandle | undefined;
  try {
    // Not blocking: opening a pipe for reading would wait for somebody to write.
    file = await open(origin, constants.O_RDONLY | constants.O_NONBLOCK);
    const info = await file.stat();
    if (info.isDirectory()) return { origin, problem: 'is a directory, which is not entered' };
    if (!info.isFile()) return { origin, problem: 'is not a file' };
    const text = await readLimited(file);
    return text === undefined
      ? { origin, problem: `is larger than ${MAX_MANIFEST_BYTES >> 20} MiB` }
      : { origin, text };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { origin, problem: 'is gone, or a link to nothing' };
    // Sockets and devices without a driver.
    if (code === 'ENXIO' || code === 'ENODEV') return { origin, problem: 'is not a file' };
    if (code === 'ELOOP') return { origin, problem: 'is a link to itself' };
    return { origin, problem: code === 'EACCES' ? 'may not be read: permission denied' : message };
  } finally {
    await file?.close();
  }
}

/** undefined: more than the limit. The size that stat tells is not asked: it is 0 for what the kernel makes up. */
async function readLimited(file: FileHandle): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const { bytesRead, buffer } = await file.read({ buffer: Buffer.allocUnsafe(64 << 10) });
    if (bytesRead === 0) return Buffer.concat(chunks).toString('utf8');
    chunks.push(buffer.subarray(0, bytesRead));
    length += bytesRead;
    if (length > MAX_MANIFEST_BYTES) return undefined;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  // No directory: no static pods (it may come later). Anything else must not look like "all pods were removed".
  if (error.code !== 'ENOENT') throw error;
}
