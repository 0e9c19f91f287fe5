import { join } from 'node:path';
import { type CertificateAuthority, loadCertificateAuthority } from '../../src/auth/authority.ts';
import { readCertificatePair } from '../../src/auth/pem-files.ts';
import { UserError } from '../output/failure.ts';

/** The authority that `up` made. @throws UserError where there is none. */
export async function loadClusterAuthority(folder: string): Promise<CertificateAuthority> {
  const pair = await readCertificatePair({ certPath: join(folder, 'ca.crt'), keyPath: join(folder, 'ca.key') });
  if (!pair) throw new UserError(`there is no certificate authority in ${folder}: 'berth up' makes it`);
  return loadCertificateAuthority(pair);
}
