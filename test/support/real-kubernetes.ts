import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Host } from '../../cli/hosts/host.ts';
import { ASSET_PROGRAMS } from '../../cli/kube-assets/assets.ts';
import {
  type CertificateAuthority,
  type CertificatePair,
  createCertificateAuthority,
  issueCertificate,
} from '../../src/auth/authority.ts';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import { type ClusterHost, KUBECONFIG, until } from './cluster-host.ts';

const POD_CIDR = '10.244.0.0/16';
const SERVICE_CIDR = '10.96.0.0/12';
type Program = (typeof ASSET_PROGRAMS)[number];

const PKI = '/etc/kubernetes/pki';
const AUDIT_LOG = '/var/log/kubernetes/audit.log';
const START_TIMEOUT_MS = 120_000;

const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata' }],
};

/** One request as the API server's audit log tells it. */
export interface AuditEvent {
  stage: string;
  verb: string;
  requestURI: string;
  user: { username: string; groups?: string[] };
  userAgent?: string;
  responseStatus?: { code?: number; reason?: string; message?: string };
}

/** An etcd, kube-apiserver, kube-controller-manager and kube-scheduler in a host, as kubeadm would start them. */
export interface RealKubernetes {
  /** As other hosts of the switch reach it. */
  readonly url: string;
  /** The authority of its certificates, PEM. */
  readonly caPem: string;
  /** A kubeconfig's text for a node: its certificate also serves the node's HTTPS port. */
  nodeKubeconfig(name: string, address: string): Promise<string>;
  /** A kubeconfig's text for a user with these groups. */
  kubeconfig(user: string, groups?: string[]): Promise<string>;
  /** Ends kube-apiserver at once, as a crash would; the other programs wait for it. */
  killApiServer(): Promise<void>;
  /**
   * Starts it again and waits until it is ready: with its own serving certificate, another one of the same authority, or one of an authority that
   * nobody here knows (then it is only waited for the port).
   */
  restartApiServer(serving?: 'own' | 'renewed' | 'foreign'): Promise<void>;
  /** What the API server answered so far. */
  audit(): AuditEvent[];
  /** The last lines of each program's log, for a test that failed. */
  logs(): string;
}

/**
 * Starts the programs of `assets` in the host, instead of Berth's own control plane; RBAC, the Node authorizer, NodeRestriction and the audit log
 * are on. They end with the host. The host's kubectl is the administrator's.
 * @param managerFlags of kube-controller-manager, above those that it gets here
 */
export async function startRealKubernetes(
  cluster: ClusterHost,
  assets: string,
  managerFlags: Record<string, string> = {},
): Promise<RealKubernetes> {
  const { host, address } = cluster;
  const write = (path: string, text: string) => {
    mkdirSync(dirname(host.path(path)), { recursive: true });
    writeFileSync(host.path(path), text, { mode: 0o600 });
    return path;
  };
  const programs = reachablePrograms(host, assets);
  const url = `https://${address}:6443`;
  const pki = await createPki(address);
  const kubeconfigOf = (pair: CertificatePair, server = url) =>
    renderKubeconfig({ server, caPem: pki.ca.certPem, certPem: pair.certPem, keyPem: pair.keyPem });
  const asUser = async (user: string, groups: string[] = []) => kubeconfigOf(await pki.client(user, groups));
  const pair = (name: string, { certPem, keyPem }: CertificatePair) => ({
    cert: write(`${PKI}/${name}.crt`, certPem),
    key: write(`${PKI}/${name}.key`, keyPem),
  });
  const ca = pair('ca', pki.ca);
  const serving = pair('apiserver', pki.apiServer);
  const kubelet = pair(
    'apiserver-kubelet-client',
    await pki.client('kube-apiserver-kubelet-client', ['system:masters']),
  );
  const serviceAccounts = pair('service-accounts', await pki.client('service-accounts', []));
  write(KUBECONFIG, await asUser('kubernetes-admin', ['system:masters']));

  function start(name: Program, flags: Record<string, string>): void {
    const argv = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
    const script = `echo $$ >/run/${name}.pid; exec "$0" "$@" >>/var/log/kubernetes/${name}.log 2>&1`;
    mkdirSync(host.path('/var/log/kubernetes'), { recursive: true });
    host.spawn(['sh', '-c', script, join(programs, name), ...argv], { stdio: 'ignore' });
  }

  start('etcd', {
    'data-dir': '/var/lib/etcd',
    'listen-client-urls': 'http://127.0.0.1:2379',
    'advertise-client-urls': 'http://127.0.0.1:2379',
    'listen-peer-urls': 'http://127.0.0.1:2380',
  });
  const startApiServer = () =>
    start('kube-apiserver', {
      'etcd-servers': 'http://127.0.0.1:2379',
      'advertise-address': address,
      'secure-port': '6443',
      'tls-cert-file': serving.cert,
      'tls-private-key-file': serving.key,
      'client-ca-file': ca.cert,
      'authorization-mode': 'Node,RBAC',
      'enable-admission-plugins': 'NodeRestriction',
      'allow-privileged': 'true',
      'service-cluster-ip-range': SERVICE_CIDR,
      'service-account-issuer': 'https://kubernetes.default.svc.cluster.local',
      'service-account-key-file': serviceAccounts.cert,
      'service-account-signing-key-file': serviceAccounts.key,
      'kubelet-certificate-authority': ca.cert,
      'kubelet-client-certificate': kubelet.cert,
      'kubelet-client-key': kubelet.key,
      'kubelet-preferred-address-types': 'InternalIP,Hostname',
      'audit-policy-file': write('/etc/kubernetes/audit-policy.yaml', JSON.stringify(AUDIT_POLICY)),
      'audit-log-path': AUDIT_LOG,
      'enable-bootstrap-token-auth': 'true',
    });
  startApiServer();

  const kubernetes: RealKubernetes = {
    url,
    caPem: pki.ca.certPem,
    kubeconfig: asUser,
    nodeKubeconfig: async (name, nodeAddress) => kubeconfigOf(await pki.node(name, nodeAddress)),
    async killApiServer() {
      await cluster.sh(
        'pid=$(cat /run/kube-apiserver.pid); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done',
      );
    },
    async restartApiServer(serving = 'own') {
      if (serving !== 'own') pair('apiserver', await pki.serving(serving === 'foreign'));
      startApiServer();
      if (serving !== 'foreign') await apiServerReady();
      else
        await until(
          'kube-apiserver listens',
          async () => (await cluster.sh(`ss -Hltn 'sport = :6443'`)).trim() !== '',
          START_TIMEOUT_MS,
        );
    },
    audit: () =>
      readFileSync(host.path(AUDIT_LOG), 'utf8')
        .split('\n')
        .filter((line) => line.endsWith('}'))
        .map((line) => JSON.parse(line) as AuditEvent),
    logs: () =>
      ASSET_PROGRAMS.map((name) => `── ${name}\n${lastLines(host.path(`/var/log/kubernetes/${name}.log`), 15)}`).join(
        '\n',
      ),
  };
  const apiServerReady = () =>
    until(
      'kube-apiserver is ready',
      async () => (await cluster.tryKubectl(['get', '--raw', '/readyz'])).stdout === 'ok',
      START_TIMEOUT_MS,
    ).catch((error) => {
      throw new Error(`the real control plane did not start:\n${kubernetes.logs()}`, { cause: error });
    });
  await apiServerReady();

  const managerConfig = write(
    '/etc/kubernetes/controller-manager.conf',
    await asUser('system:kube-controller-manager'),
  );
  start('kube-controller-manager', {
    kubeconfig: managerConfig,
    'leader-elect': 'false',
    'allocate-node-cidrs': 'true',
    'cluster-cidr': POD_CIDR,
    'service-cluster-ip-range': SERVICE_CIDR,
    'use-service-account-credentials': 'true',
    'service-account-private-key-file': serviceAccounts.key,
    'root-ca-file': ca.cert,
    'cluster-signing-cert-file': ca.cert,
    'cluster-signing-key-file': ca.key,
    controllers: '*,bootstrapsigner,tokencleaner',
    ...managerFlags,
  });
  const schedulerConfig = write('/etc/kubernetes/scheduler.conf', await asUser('system:kube-scheduler'));
  start('kube-scheduler', { kubeconfig: schedulerConfig, 'leader-elect': 'false' });
  return kubernetes;
}

async function createPki(address: string) {
  const nowMs = Date.now();
  const ca: CertificateAuthority = await createCertificateAuthority({ commonName: 'kubernetes', days: 1, nowMs });
  const issue = (request: Omit<Parameters<typeof issueCertificate>[1], 'days' | 'nowMs'>) =>
    issueCertificate(ca, { ...request, days: 1, nowMs });
  const apiServer = {
    commonName: 'kube-apiserver',
    usages: ['server' as const],
    dnsNames: ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'],
    ipAddresses: ['127.0.0.1', '10.96.0.1', address],
  };
  return {
    ca,
    apiServer: await issue(apiServer),
    async serving(isForeign: boolean) {
      if (!isForeign) return issue(apiServer);
      const other = await createCertificateAuthority({ commonName: 'another-kubernetes', days: 1, nowMs });
      return issueCertificate(other, { ...apiServer, days: 1, nowMs });
    },
    client: (commonName: string, organizations: string[]) => issue({ commonName, organizations, usages: ['client'] }),
    node: (name: string, nodeAddress: string) =>
      issue({
        commonName: `system:node:${name}`,
        organizations: ['system:nodes'],
        usages: ['client', 'server'],
        dnsNames: [name],
        ipAddresses: [nodeAddress],
      }),
  };
}

/** The folder with the programs as the host sees it: a host has its own /tmp and no file systems mounted elsewhere, so they may have to be copied. */
function reachablePrograms(host: Host, assets: string): string {
  if (ASSET_PROGRAMS.every((name) => existsSync(host.path(join(assets, name))))) return assets;
  const folder = '/var/tmp/kubernetes';
  mkdirSync(host.path(folder), { recursive: true });
  for (const name of ASSET_PROGRAMS) copyFileSync(join(assets, name), host.path(join(folder, basename(name))));
  return folder;
}

function lastLines(file: string, count: number): string {
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n') : '(no log)';
}
