import { readFileSync } from 'node:fs';
import type { Clock } from '../runtime/clock.ts';

/** Where a client's credentials come from; what stands in a file is read again now and then, since whoever wrote it rotates it. */
export interface CredentialFiles {
  /** CA bundle that must have signed the server's certificate; the system's roots when absent. */
  caPem?: string;
  caFile?: string;
  certPem?: string;
  keyPem?: string;
  certFile?: string;
  keyFile?: string;
  token?: string;
  tokenFile?: string;
}

/** What a connection shows, and whom it trusts. */
export interface ClientCertificate {
  caPem?: string;
  certPem?: string;
  keyPem?: string;
}

const MAX_AGE_MS = 60_000;
const REFRESH_MS = 2_000;

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
 * The client certificate and the authority of this moment. Files that are gone, or that do not fit each other since they are just being
 * replaced, leave the last good ones in force.
 */
export function certificateSource(files: CredentialFiles, clock: Clock): CertificateSource {
  const { caFile, certFile, keyFile } = files;
  let current: ClientCertificate = {
    ...(files.caPem && { caPem: files.caPem }),
    certPem: files.certPem,
    keyPem: files.keyPem,
  };
  let readAtMs = clock.monotonicMs();
  const source = () => {
    if (clock.monotonicMs() - readAtMs < MAX_AGE_MS) return current;
    readAtMs = clock.monotonicMs();
    const found = {
      ...current,
      ...(caFile && readCa(caFile)),
      ...(certFile && keyFile && readPair(certFile, keyFile)),
    };
    if ((['caPem', 'certPem', 'keyPem'] as const).some((part) => found[part] !== current[part])) current = found;
    return current;
  };
  return Object.assign(source, {
    refresh() {
      // Not at each of a hundred refusals.
      readAtMs = Math.min(readAtMs, clock.monotonicMs() - MAX_AGE_MS + REFRESH_MS);
    },
  });
}

export interface CertificateSource {
  (): ClientCertificate;
  /** The server is of another authority: looks at the files again soon. */
  refresh(): void;
}

/** A bundle that is being written may be cut. */
function readCa(file: string): { caPem: string } | undefined {
  try {
    const caPem = readFileSync(file, 'utf8');
    return /-----BEGIN [\s\S]+-----END CERTIFICATE-----\s*$/.test(caPem) ? { caPem } : undefined;
  } catch {
    return undefined;
  }
}

/** Twice the same, or a writer stood between the two files. */
function readPair(certFile: string, keyFile: string): Required<Omit<ClientCertificate, 'caPem'>> | undefined {
  try {
    const certPem = readFileSync(certFile, 'utf8');
    const keyPem = readFileSync(keyFile, 'utf8');
    return readFileSync(certFile, 'utf8') === certPem ? { certPem, keyPem } : undefined;
  } catch {
    return undefined;
  }
}
