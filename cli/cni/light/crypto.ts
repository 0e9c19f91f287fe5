import { sha256, sha512 } from '@noble/hashes/sha2.js';

/**
 * Stands for `node:crypto` in the programs of network plugins, which make names of hashes, and few at that: what is behind the real one
 * takes longer to load than all of theirs. Whatever else they call comes from the real one, at the call.
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

export function randomBytes(length: number): Buffer {
  return process.getBuiltinModule('node:crypto').randomBytes(length);
}

export function randomInt(least: number, limit: number): number {
  return process.getBuiltinModule('node:crypto').randomInt(least, limit);
}
