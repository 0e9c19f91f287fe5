import { createHash, X509Certificate } from 'node:crypto';
import { Agent, request } from 'undici';
import { parse } from 'yaml';
import { type BootstrapToken, verifyDetached } from '../auth/bootstrap-token.ts';

/** What a host knows of a cluster before it trusts it. */
export interface Discovery {
  /** `https://192.0.2.1:6443` */
  server: string;
  token: BootstrapToken;
  /** `sha256:…` over the public key of a CA, any of which will do; empty: the token alone is trusted. */
  caHashes: readonly string[];
}

export class DiscoveryError extends Error {
  override readonly name = 'DiscoveryError';
}

/** Nothing is signed with the token: it is unknown or has expired, or so new that the cluster has not come to it yet. */
export class UnknownTokenError extends DiscoveryError {}

const TIMEOUT_MS = 10_000;
const PATH = '/api/v1/namespaces/kube-public/configmaps/cluster-info';

/**
 * Finds out who certifies the cluster, the kubeadm way: cluster-info is read from a server that is not trusted yet, then must be signed with the token, name a CA of the
 * given hash, and be what the same server shows to somebody who trusts only that CA. Throws DiscoveryError.
 * @returns the CA, PEM, and the server's address as the cluster itself has it
 */
export async function discoverCluster(discovery: Discovery): Promise<{ caPem: string; server: string }> {
  const { server, token, caHashes } = discovery;
  const signed = checkSignature(await readClusterInfo(server, { rejectUnauthorized: false }), token, server);
  const cluster = firstCluster(signed);
  const hash = publicKeyHash(cluster.caPem);
  if (caHashes.length > 0 && !caHashes.includes(hash))
    throw new DiscoveryError(
      `${server} shows a cluster CA with the hash ${hash}, not ${caHashes.join(' or ')}: this is not the cluster that the hash was made for, or somebody stands between`,
    );
  const again = checkSignature(await readClusterInfo(server, { ca: cluster.caPem }), token, server);
  if (again !== signed)
    throw new DiscoveryError(`${server} tells other things of the cluster over a trusted connection`);
  return cluster;
}

/** `sha256:<hex>` of the SubjectPublicKeyInfo of the first certificate (RFC 7469), as kubeadm prints it. */
export function publicKeyHash(caPem: string): string {
  const der = new X509Certificate(caPem).publicKey.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(der).digest('hex')}`;
}

async function readClusterInfo(
  server: string,
  tls: { ca?: string; rejectUnauthorized?: boolean },
): Promise<Record<string, string>> {
  const dispatcher = new Agent({ connect: { ...tls, timeout: TIMEOUT_MS } });
  try {
    const { statusCode, body } = await request(new URL(PATH, server), {
      dispatcher,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const text = await body.text();
    if (statusCode !== 200)
      throw new DiscoveryError(
        `${server} answers ${statusCode} for the ConfigMap kube-public/cluster-info: is this an API server of a cluster that takes joining hosts?`,
      );
    return (JSON.parse(text) as { data?: Record<string, string> }).data ?? {};
  } catch (error) {
    if (error instanceof DiscoveryError) throw error;
    throw new DiscoveryError(
      `the API server ${server} cannot be asked for the cluster's CA: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  } finally {
    await dispatcher.destroy();
  }
}

function checkSignature(data: Record<string, string>, token: BootstrapToken, server: string): string {
  const { kubeconfig = '', [`jws-kubeconfig-${token.id}`]: jws } = data;
  if (jws === undefined)
    throw new UnknownTokenError(
      `${server} does not know the token ${token.id}: it may have expired; 'berth token create' makes another`,
    );
  if (!verifyDetached(jws, kubeconfig, token))
    throw new DiscoveryError(
      `what ${server} tells of the cluster is not signed with this token: the token is wrong, or the server is`,
    );
  return kubeconfig;
}

function firstCluster(kubeconfig: string): { caPem: string; server: string } {
  const { clusters } = (parse(kubeconfig) ?? {}) as {
    clusters?: { cluster?: { server?: string; 'certificate-authority-data'?: string } }[];
  };
  const { server, 'certificate-authority-data': ca } = clusters?.[0]?.cluster ?? {};
  if (!server || !ca) throw new DiscoveryError('cluster-info names no server or no certificate authority');
  return { server, caPem: Buffer.from(ca, 'base64').toString() };
}
