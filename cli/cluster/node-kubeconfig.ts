import { isIP } from 'node:net';
import { issueCertificate } from '../../src/auth/authority.ts';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import { UserError } from '../output/failure.ts';
import { loadClusterAuthority } from '../pki/load-authority.ts';
import { checkRoot } from '../preflight/checks.ts';
import { pathsOf } from '../settings.ts';
import { nodeName } from '../settings-from-flags.ts';
import { knownCluster } from './known-cluster.ts';

const DAYS = 365;

/** Credentials for another host of this cluster, as a kubeconfig. A node's certificate also serves its HTTPS port. */
export async function nodeKubeconfig(options: {
  rootDir: string;
  name: string;
  nodeIp?: string;
  for: string;
}): Promise<string> {
  checkRoot('node kubeconfig');
  const settings = knownCluster(options.rootDir);
  if (options.nodeIp && !isIP(options.nodeIp)) throw new UserError(`--node-ip ${options.nodeIp}: is no IP address`);
  const ca = await loadClusterAuthority(pathsOf(settings).pki);
  const name = nodeName(options.name, 'node kubeconfig');
  const { certPem, keyPem } = await issueCertificate(ca, {
    ...identity({ ...options, name }),
    days: DAYS,
    nowMs: Date.now(),
  });
  return renderKubeconfig({
    server: `https://${settings.nodeIp}:${settings.apiPort}`,
    caPem: ca.certPem,
    certPem,
    keyPem,
    userName: options.for,
  });
}

function identity({ name, nodeIp, for: role }: { name: string; nodeIp?: string; for: string }) {
  if (role === 'proxy') return { commonName: 'system:kube-proxy', usages: ['client'] as const };
  if (role === 'overlay') return { commonName: 'system:berth-overlay', usages: ['client'] as const };
  if (role !== 'node') throw new UserError(`--for ${role}: node, proxy or overlay`, 2);
  return {
    commonName: `system:node:${name}`,
    organizations: ['system:nodes'],
    usages: ['client', 'server'] as const,
    dnsNames: [name],
    ipAddresses: nodeIp ? [nodeIp] : [],
  };
}
