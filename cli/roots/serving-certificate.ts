import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { whichNamesLack } from '../../agent/certificates/serving-names.ts';
import { type CertificatePair, createCertificateAuthority, issueCertificate } from '../../src/auth/authority.ts';
import { needsRenewal } from '../../src/auth/certificate.ts';
import { readCertificatePair, writeCertificatePair } from '../../src/auth/pem-files.ts';
import { UserError } from '../output/failure.ts';

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const DAYS = 365;

export interface ServingSources {
  /** KubeletConfiguration: both or none. */
  tlsCertFile: string;
  tlsPrivateKeyFile: string;
  /** The certificate in the kubeconfig; used when it may also serve (`berth node kubeconfig` makes such). */
  client?: { certPem?: string; keyPem?: string };
  nodeIps: string[];
  certDir: string;
  nowMs: number;
}

/** A pair and the files that it is in. */
export interface ServingPair extends CertificatePair {
  certFile: string;
  keyFile: string;
}

/**
 * The certificate of the agent's HTTPS port: the configured one, the node's own if it may serve, else a self-signed one as the kubelet makes it. The latter two lie in
 * `kubelet.crt` and `kubelet.key` of the certificate directory, and stay there until they are near their end or lack an address.
 */
export async function findServingCertificate(sources: ServingSources): Promise<ServingPair> {
  const { tlsCertFile, tlsPrivateKeyFile, client, certDir, nodeIps, nowMs } = sources;
  if (tlsCertFile || tlsPrivateKeyFile) {
    if (!tlsCertFile || !tlsPrivateKeyFile)
      throw new UserError('tlsCertFile and tlsPrivateKeyFile belong together: give both or none');
    const certPem = readPem('tlsCertFile', tlsCertFile);
    const keyPem = readPem('tlsPrivateKeyFile', tlsPrivateKeyFile);
    return { certPem, keyPem, certFile: tlsCertFile, keyFile: tlsPrivateKeyFile };
  }
  mkdirSync(certDir, { recursive: true, mode: 0o700 });
  const paths = { certPath: join(certDir, 'kubelet.crt'), keyPath: join(certDir, 'kubelet.key') };
  const files = { certFile: paths.certPath, keyFile: paths.keyPath };
  const present = await readCertificatePair(paths);
  const own = mayServe(client, nowMs);
  if (own && own.certPem !== present?.certPem) {
    await writeCertificatePair(paths, own);
    return { ...own, ...files };
  }
  const lacks = (pair: CertificatePair) =>
    whichNamesLack(pair.certPem, { dnsNames: [], ipAddresses: nodeIps }).length > 0;
  if (present && !needsRenewal(present.certPem, { nowMs }) && (own !== undefined || !lacks(present)))
    return { ...present, ...files };
  const made = await selfSigned(sources);
  await writeCertificatePair(paths, made);
  return { ...made, ...files };
}

function mayServe({ certPem, keyPem }: ServingSources['client'] = {}, nowMs: number): CertificatePair | undefined {
  if (!certPem || !keyPem || needsRenewal(certPem, { nowMs })) return undefined;
  return new X509Certificate(certPem).keyUsage?.includes(SERVER_AUTH) ? { certPem, keyPem } : undefined;
}

async function selfSigned({ nodeIps, nowMs }: ServingSources): Promise<CertificatePair> {
  const authority = await createCertificateAuthority({
    commonName: `${hostname()}-ca@${Math.floor(nowMs / 1000)}`,
    days: DAYS,
    nowMs,
  });
  return issueCertificate(authority, {
    commonName: hostname(),
    dnsNames: [hostname().toLowerCase()],
    ipAddresses: nodeIps,
    usages: ['server'],
    days: DAYS,
    nowMs,
  });
}

/** A file that the configuration names. @throws UserError with the field, the path and the reason */
export function readPem(field: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${field} ${path} cannot be read: ${(error as Error).message}`);
  }
}
