import { closeSync, openSync, readSync } from 'node:fs';
import { sha256, sha512 } from '@noble/hashes/sha2.js';

/**
 * Stands for `node:crypto` in the programs of network plugins, which make names of hashes, and few at that: what is behind the real one
 * takes longer to load than all of theirs.
 */
export function createHash(algorithm: string) {
  if (algorithm !== 'sha256' && algorithm !== 'sha512') throw new Error(`createHash: ${algorithm} is not at hand here`);
  const hash = (algorithm === 'sha256' ? sha256 : sha512).create();
  const self = {
    update(text: string) {
      hash.update(Buffer.from(text));
      return self;
    },
    digest: (encoding: 'hex') => Buffer.from(hash.digest()).toString(encoding),
  };
  return self;
}

/** From where the real one gets its own. */
export function randomBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const source = openSync('/dev/urandom', 'r');
  try {
    readSync(source, bytes);
  } finally {
    closeSync(source);
  }
  return bytes;
}
