import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type CertificateAuthority,
  type CertificatePair,
  createCertificateAuthority,
  issueCertificate,
  loadCertificateAuthority,
} from '../../src/auth/authority.ts';
import { needsRenewal, summarizeCertificate } from '../../src/auth/certificate.ts';
import { readCertificatePair, writeCertificatePair, writeFileAtomically } from '../../src/auth/pem-files.ts';
import { createSigningKeyPem, loadSigningKey, type SigningKey } from '../../src/auth/signing-key.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';

const CA_DAYS = 3650;
const LEAF_DAYS = 365;

/** A pair and the files that it is in: who uses it finds the next one there. */
export interface LeafPair extends CertificatePair {
  certFile: string;
  keyFile: string;
}

/** Who the certificates of a single-node cluster speak for. */
export interface ClusterPki {
  ca: CertificateAuthority;
  caFile: string;
  apiServer: LeafPair;
  /** The API server as a client of the node agents. */
  kubeletClient: LeafPair;
  admin: LeafPair;
  controllerManager: LeafPair;
  scheduler: LeafPair;
  node: LeafPair;
  nodeServing: LeafPair;
  proxy: LeafPair;
  overlay: LeafPair;
  dns: LeafPair;
  /** Signs service account tokens. */
  serviceAccountKey: SigningKey;
}

export interface PkiRequest {
  folder: string;
  nodeName: string;
  nodeIps: string[];
  apiServerIps: string[];
  apiServerNames: string[];
  nowMs: number;
}

/** Makes the authority once, and every certificate that is missing, soon expires, or lacks a name that it needs now. */
export async function ensureClusterPki(request: PkiRequest): Promise<ClusterPki> {
  await mkdir(request.folder, { recursive: true, mode: 0o700 });
  const ca = await ensureAuthority(request);
  const serviceAccountKey = await ensureSigningKey(request.folder);
  const leaf = (file: string, wanted: LeafRequest) => ensureLeaf(ca, request, file, wanted);
  const client = (file: string, commonName: string, organizations: string[] = []) =>
    leaf(file, { commonName, organizations, usages: ['client'] });
  const [apiServer, kubeletClient, admin, controllerManager, scheduler, node, nodeServing, proxy, overlay, dns] =
    await Promise.all([
      leaf('apiserver', {
        commonName: 'kube-apiserver',
        usages: ['server'],
        dnsNames: request.apiServerNames,
        ipAddresses: request.apiServerIps,
      }),
      client('apiserver-kubelet-client', 'kube-apiserver-kubelet-client', ['kubeadm:cluster-admins']),
      client('admin', 'kubernetes-admin', ['system:masters']),
      client('controller-manager', 'system:kube-controller-manager'),
      client('scheduler', 'system:kube-scheduler'),
      client('node', `system:node:${request.nodeName}`, ['system:nodes']),
      leaf('node-serving', {
        commonName: `system:node:${request.nodeName}`,
        organizations: ['system:nodes'],
        usages: ['server'],
        dnsNames: [request.nodeName],
        ipAddresses: request.nodeIps,
      }),
      client('proxy', 'system:kube-proxy'),
      client('overlay', 'system:berth-overlay'),
      client('dns', 'system:kube-dns'),
    ]);
  return {
    ca,
    caFile: pairPaths(request.folder, 'ca').certPath,
    apiServer,
    kubeletClient,
    admin,
    controllerManager,
    scheduler,
    node,
    nodeServing,
    proxy,
    overlay,
    dns,
    serviceAccountKey,
  };
}

interface LeafRequest {
  commonName: string;
  organizations?: string[];
  usages: ('client' | 'server')[];
  dnsNames?: string[];
  ipAddresses?: string[];
}

async function ensureAuthority(request: PkiRequest): Promise<CertificateAuthority> {
  const paths = pairPaths(request.folder, 'ca');
  const present = await readCertificatePair(paths);
  if (present) return loadCertificateAuthority(present);
  const ca = await createCertificateAuthority({ commonName: 'berth-ca', days: CA_DAYS, nowMs: request.nowMs });
  await writeCertificatePair(paths, ca);
  return ca;
}

/** sa.key and sa.pub, as kubeadm calls them. A new key would make every token in use worthless: it is made once. */
async function ensureSigningKey(folder: string): Promise<SigningKey> {
  const path = join(folder, 'sa.key');
  const present = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  const pem = present ?? createSigningKeyPem();
  let key: SigningKey;
  try {
    key = loadSigningKey(pem);
  } catch (error) {
    throw new ExplainedError(
      `${path}: ${(error as Error).message}; bring it back from a backup, or remove it (then all service account tokens in use end)`,
      { cause: error },
    );
  }
  if (present === undefined) {
    await writeFileAtomically(path, pem, 0o600);
    await writeFileAtomically(join(folder, 'sa.pub'), key.publicPem, 0o644);
  }
  return key;
}

async function ensureLeaf(
  ca: CertificateAuthority,
  request: PkiRequest,
  file: string,
  wanted: LeafRequest,
): Promise<LeafPair> {
  const paths = pairPaths(request.folder, file);
  const files = { certFile: paths.certPath, keyFile: paths.keyPath };
  const present = await readCertificatePair(paths);
  if (
    present &&
    !needsRenewal(present.certPem, { nowMs: request.nowMs, caPem: ca.certPem }) &&
    names(present.certPem, wanted)
  )
    return { ...present, ...files };
  const pair = await issueCertificate(ca, { ...wanted, days: LEAF_DAYS, nowMs: request.nowMs });
  await writeCertificatePair(paths, pair);
  return { ...pair, ...files };
}

function names(certPem: string, wanted: LeafRequest): boolean {
  const has = summarizeCertificate(certPem);
  return (
    has.commonName === wanted.commonName &&
    (wanted.dnsNames ?? []).every((name) => has.dnsNames.includes(name)) &&
    (wanted.ipAddresses ?? []).every((address) => has.ipAddresses.includes(address))
  );
}

function pairPaths(folder: string, name: string) {
  return { certPath: join(folder, `${name}.crt`), keyPath: join(folder, `${name}.key`) };
}
