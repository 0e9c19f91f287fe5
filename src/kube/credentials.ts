import { readFileSync } from 'node:fs';
import type { Clock } from '../runtime/clock.ts';

/** Where a client's credentials come from; what stands in a file is read again now and then, since whoever wrote it rotates it. */
export interface CredentialFiles {
  certPem?: string;
  keyPem?: string;
  certFile?: string;
  keyFile?: string;
  token?: string;
  tokenFile?: string;
}

export interface ClientCertificate {
  certPem?: string;
  keyPem?: string;
}

const MAX_AGE_MS = 60_000;

/** The bearer token of this moment. Throws when its file cannot be read and no earlier content is known. */
export function tokenSource({ token, tokenFile }: CredentialFiles, clock: Clock): () => string | undefined {
  if (!tokenFile) return () => token;
  let current = token;
  let readAtMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (clock.monotonicMs() - readAtMs < MAX_AGE_MS) return current;
    readAtMs = clock.monotonicMs();
    try {
      current = readFileSync(tokenFile, 'utf8').trim();
    } catch (error) {
      // The old one may still be good; without any the server would only say Unauthorized.
      if (current === undefined) throw error;
    }
    return current;
  };
}

/**
 * The client certificate of this moment. Files that are gone, or that do not fit each other since they are just being replaced, leave the last good pair
 * in force.
 */
export function certificateSource(files: CredentialFiles, clock: Clock): () => ClientCertificate {
  const { certFile, keyFile } = files;
  let current: ClientCertificate = { certPem: files.certPem, keyPem: files.keyPem };
  if (!certFile || !keyFile) return () => current;
  let readAtMs = clock.monotonicMs();
  return () => {
    if (clock.monotonicMs() - readAtMs < MAX_AGE_MS) return current;
    readAtMs = clock.monotonicMs();
    const found = readPair(certFile, keyFile);
    if (found && (found.certPem !== current.certPem || found.keyPem !== current.keyPem)) current = found;
    return current;
  };
}

/** Twice the same, or a writer stood between the two files. */
function readPair(certFile: string, keyFile: string): Required<ClientCertificate> | undefined {
  try {
    const certPem = readFileSync(certFile, 'utf8');
    const keyPem = readFileSync(keyFile, 'utf8');
    return readFileSync(certFile, 'utf8') === certPem ? { certPem, keyPem } : undefined;
  } catch {
    return undefined;
  }
}
