import { randomBytes } from 'node:crypto';
import { chmod, open, readFile, rename, rm } from 'node:fs/promises';
import type { CertificatePair } from './authority.ts';

export interface PairPaths {
  readonly certPath: string;
  readonly keyPath: string;
}

/**
 * Writes a file so that a reader, also after a crash, sees the old or the new content and never a piece: a new file
 * beside it, synced, then renamed over it. `mode` holds from the first byte.
 */
export async function writeFileAtomically(path: string, content: string, mode: number): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    // The umask may have taken bits away.
    await chmod(temporary, mode);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** The key 0600 first, then the certificate 0644: a certificate on disk always has its key. */
export async function writeCertificatePair(paths: PairPaths, pair: CertificatePair): Promise<void> {
  await writeFileAtomically(paths.keyPath, pair.keyPem, 0o600);
  await writeFileAtomically(paths.certPath, pair.certPem, 0o644);
}

/** Undefined when either file is missing; other errors (permissions …) are thrown. */
export async function readCertificatePair(paths: PairPaths): Promise<CertificatePair | undefined> {
  const certPem = await readIfPresent(paths.certPath);
  const keyPem = await readIfPresent(paths.keyPath);
  return certPem === undefined || keyPem === undefined ? undefined : { certPem, keyPem };
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
