import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
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
  rootDir: string;
  nowMs: number;
}

/** The certificate of the agent's HTTPS port: the configured one, the node's own if it may serve, else a self-signed one as the kubelet makes it. */
export async function findServingCertificate(sources: ServingSources): Promise<CertificatePair> {
  const { tlsCertFile, tlsPrivateKeyFile, client } = sources;
  if (tlsCertFile || tlsPrivateKeyFile) {
    if (!tlsCertFile || !tlsPrivateKeyFile)
      throw new UserError('tlsCertFile and tlsPrivateKeyFile belong together: give both or none');
    return { certPem: readPem('tlsCertFile', tlsCertFile), keyPem: readPem('tlsPrivateKeyFile', tlsPrivateKeyFile) };
  }
  if (client?.certPem && client.keyPem && new X509Certificate(client.certPem).keyUsage?.includes(SERVER_AUTH)) {
    return { certPem: client.certPem, keyPem: client.keyPem };
  }
  return selfSigned(sources);
}

async function selfSigned({ rootDir, nodeIps, nowMs }: ServingSources): Promise<CertificatePair> {
  const folder = join(rootDir, 'pki');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const paths = { certPath: join(folder, 'kubelet.crt'), keyPath: join(folder, 'kubelet.key') };
  const present = await readCertificatePair(paths);
  if (present && !needsRenewal(present.certPem, { nowMs })) return present;
  const authority = await createCertificateAuthority({
    commonName: `${hostname()}-ca@${Math.floor(nowMs / 1000)}`,
    days: DAYS,
    nowMs,
  });
  const pair = await issueCertificate(authority, {
    commonName: hostname(),
    dnsNames: [hostname().toLowerCase()],
    ipAddresses: nodeIps,
    usages: ['server'],
    days: DAYS,
    nowMs,
  });
  await writeCertificatePair(paths, pair);
  return pair;
}

function readPem(field: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${field} ${path} cannot be read: ${(error as Error).message}`);
  }
}
