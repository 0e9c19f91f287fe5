import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { generatePrivateKey, isWireguardKey } from '../../../src/linux/wireguard-key.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';

/**
 * The node's private key: the file's, flanneld's too, or a new one that is written there. Others can't read it (0600), whatever it was.
 * @throws ExplainedError for a file that has none: it is not overwritten.
 */
export function ensurePrivateKey(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const key = generatePrivateKey();
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.new`, key, { mode: 0o600 });
    renameSync(`${path}.new`, path);
    return key;
  }
  if (!isWireguardKey(text))
    throw new ExplainedError(
      `overlay wireguard: ${path} has no private key (32 bytes in base64): remove it, and a new one is made`,
    );
  chmodSync(path, 0o600);
  return text;
}

/** A half-written one too. Idempotent. */
export function removePrivateKey(path: string): void {
  for (const ending of ['', '.new']) rmSync(`${path}${ending}`, { force: true });
}
