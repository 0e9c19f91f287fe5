import { mkdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';

/** Where a node's certificates of one kind are kept, as the kubelet keeps them: a file with certificate and key each, and a link to the newest. */
export interface CertificateFiles {
  /** `kubelet-client-current.pem`: what others may refer to. */
  readonly currentPath: string;
  /** The newest pair; undefined when there is none. Throws when it cannot be read. */
  current(): Promise<CertificatePair | undefined>;
  /** Makes this pair the newest; the one before is removed. A crash in between leaves the old or the new one in force. */
  save(pair: CertificatePair, nowMs: number): Promise<void>;
}

const BLOCK = /-----BEGIN ([A-Z ]+)-----[\s\S]+?-----END \1-----\n?/g;

/** @param name `kubelet-client` or `kubelet-server` */
export function createCertificateFiles(directory: string, name: string): CertificateFiles {
  const currentPath = join(directory, `${name}-current.pem`);
  return {
    currentPath,
    async current() {
      const text = await readFile(currentPath, 'utf8').catch((error) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      return text === undefined ? undefined : splitPair(text, currentPath);
    },
    async save({ certPem, keyPem }, nowMs) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const file = `${name}-${new Date(nowMs).toISOString().slice(0, 19).replace(/[T:]/g, '-')}.pem`;
      const before = await readlink(currentPath).catch(() => undefined);
      await writeFileAtomically(join(directory, file), certPem + keyPem, 0o600);
      const link = `${currentPath}.new`;
      await rm(link, { force: true });
      await symlink(file, link);
      await rename(link, currentPath);
      if (before !== undefined && before !== file) await rm(join(directory, before), { force: true });
    },
  };
}

function splitPair(text: string, path: string): CertificatePair {
  const blocks = [...text.matchAll(BLOCK)];
  const of = (isWanted: (kind: string) => boolean) =>
    blocks.flatMap(([block, kind]) => (isWanted(kind!) ? [`${block.trimEnd()}\n`] : [])).join('');
  const pair = { certPem: of((kind) => kind === 'CERTIFICATE'), keyPem: of((kind) => kind.endsWith('PRIVATE KEY')) };
  if (!pair.certPem || !pair.keyPem)
    throw new Error(`${path} holds no certificate with its key; remove it, and the node asks for a new one`);
  return pair;
}
