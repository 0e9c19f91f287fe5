import { stringify } from 'yaml';
import type { KubeClient } from '../../src/kube/client.ts';
import { nodes, pods, type Resource } from '../../src/kube/resources.ts';
import type { KubeObject, Node, Pod } from '../../src/kube/types.ts';
import { daemonPid } from '../daemon/launch.ts';
import { livingPid } from '../daemon/pid-file.ts';
import { enginePings } from '../engine/ping.ts';
import { UserError } from '../output/failure.ts';
import { renderTable } from '../output/table.ts';
import { engineEndpoint, pathsOf, type Settings } from '../settings.ts';
import { BERTH_VERSION } from '../version.ts';
import { adminClient } from './admin-client.ts';
import { dnsReadyAddress, probeHttp } from './health-probe.ts';
import { knownCluster } from './known-cluster.ts';

export type OutputFormat = 'json' | 'yaml';

interface ClusterStatus {
  running: boolean;
  components: { name: string; healthy: boolean; pid: number | null; address: string; detail: string }[];
  nodes: {
    name: string;
    ready: boolean;
    version: string;
    conditions: { type: string; status: string; reason: string; message: string }[];
  }[];
  pods: { total: number; running: number; ready: number; notReady: string[] };
  versions: { berth: string; kubernetes: string; docker: string };
  files: { kubeconfig: string; log: string; dnsLog: string; engineLog: string | null; settings: string };
}

/** `berth status`: asks every component itself; nothing is taken from files that the daemon wrote. */
export async function status(options: { rootDir: string; output?: string }): Promise<void> {
  if (options.output !== undefined && options.output !== 'json' && options.output !== 'yaml')
    throw new UserError(`-o ${options.output}: json or yaml`, 2);
  const settings = knownCluster(options.rootDir);
  const found = await observe(settings);
  if (options.output === 'json') process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
  else if (options.output === 'yaml') process.stdout.write(stringify(found));
  else process.stdout.write(render(found));
  if (!found.running || found.components.some((component) => !component.healthy)) process.exitCode = 1;
}

async function observe(settings: Settings): Promise<ClusterStatus> {
  const paths = pathsOf(settings);
  const pid = daemonPid(settings) ?? null;
  const own = settings.dockerEndpoint === undefined;
  const socket = engineEndpoint(settings).slice('unix://'.length);
  const client = adminClient(settings);
  try {
    const probe = async (name: string, port: number, path: string, tls = false) => {
      const address = `${tls ? 'https' : 'http'}://127.0.0.1:${port}${path}`;
      const { healthy, detail } = await probeHttp(address);
      return { name, healthy, pid, address, detail };
    };
    const components = await Promise.all([
      probe('control plane', settings.apiPort, '/readyz', true),
      probe('agent', settings.agentHealthPort, '/healthz'),
      probe('proxy', settings.proxyHealthPort, '/healthz'),
      probeDns(settings),
      enginePings(socket).then((healthy) => ({
        name: own ? 'docker (own)' : 'docker (host)',
        healthy,
        pid: own ? (livingPid(paths.enginePid, paths.enginePid) ?? null) : null,
        address: `unix://${socket}`,
        detail: healthy ? 'ok' : 'no answer',
      })),
    ]);
    const [nodeList, podList, kubernetes] = await Promise.all([
      listOr(client, nodes),
      listOr(client, pods),
      serverVersion(client),
    ]);
    return {
      running: pid !== null,
      components,
      nodes: nodeList.map(describeNode),
      pods: describePods(podList),
      versions: {
        berth: BERTH_VERSION,
        kubernetes,
        docker: nodeList[0]?.status?.nodeInfo?.containerRuntimeVersion ?? '',
      },
      files: {
        kubeconfig: settings.kubeconfig,
        log: paths.log,
        dnsLog: paths.dnsLog,
        engineLog: own ? paths.engineLog : null,
        settings: paths.settings,
      },
    };
  } finally {
    await client?.close();
  }
}

/** The DNS server has a process of its own. */
async function probeDns(settings: Settings): Promise<ClusterStatus['components'][number]> {
  const { dnsPid } = pathsOf(settings);
  const address = dnsReadyAddress(settings);
  return { name: 'dns', pid: livingPid(dnsPid, dnsPid) ?? null, address, ...(await probeHttp(address)) };
}

async function listOr<T extends KubeObject>(client: KubeClient | undefined, resource: Resource<T>): Promise<T[]> {
  try {
    return (await client?.list(resource, { signal: AbortSignal.timeout(3000) }))?.items ?? [];
  } catch {
    return [];
  }
}

async function serverVersion(client: KubeClient | undefined): Promise<string> {
  try {
    const response = await client?.raw('/version', { signal: AbortSignal.timeout(3000) });
    const body = (await response?.body.json()) as { gitVersion?: string } | undefined;
    return body?.gitVersion ?? '';
  } catch {
    return '';
  }
}

function describeNode(node: Node): ClusterStatus['nodes'][number] {
  const conditions = (node.status?.conditions ?? []).map(({ type, status, reason, message }) => ({
    type,
    status,
    reason: reason ?? '',
    message: message ?? '',
  }));
  return {
    name: node.metadata.name,
    ready: conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True'),
    version: node.status?.nodeInfo?.kubeletVersion ?? '',
    conditions,
  };
}

function describePods(all: Pod[]): ClusterStatus['pods'] {
  const ready = (pod: Pod) =>
    pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false;
  const unfinished = all.filter((pod) => pod.status?.phase !== 'Succeeded');
  return {
    total: all.length,
    running: all.filter((pod) => pod.status?.phase === 'Running').length,
    ready: all.filter(ready).length,
    notReady: unfinished.filter((pod) => !ready(pod)).map((pod) => `${pod.metadata.namespace}/${pod.metadata.name}`),
  };
}

function render(found: ClusterStatus): string {
  const lines = [
    renderTable(
      ['COMPONENT', 'STATE', 'PID', 'ADDRESS'],
      found.components.map((one) => [
        one.name,
        one.healthy ? 'healthy' : `unhealthy: ${one.detail}`,
        String(one.pid ?? '-'),
        one.address,
      ]),
    ),
    '',
    renderTable(
      ['NODE', 'STATE', 'VERSION', 'CONDITIONS'],
      found.nodes.map((node) => [
        node.name,
        node.ready ? 'Ready' : 'NotReady',
        node.version,
        node.conditions.map(({ type, status }) => `${type}=${status}`).join(' '),
      ]),
    ),
    '',
    `Pods: ${found.pods.total}, of them ${found.pods.running} running and ${found.pods.ready} ready${found.pods.notReady.length > 0 ? `; not ready: ${found.pods.notReady.join(', ')}` : ''}`,
    `Versions: Berth ${found.versions.berth}, Kubernetes API ${found.versions.kubernetes || '?'}, ${found.versions.docker || 'docker ?'}`,
    `Kubeconfig: ${found.files.kubeconfig}`,
    `Logs: ${[found.files.log, found.files.dnsLog, found.files.engineLog].filter(Boolean).join(', ')}`,
    ...(found.running
      ? []
      : ["The daemon does not run; pods and rules are as it left them. 'berth up' starts it again."]),
  ];
  return `${lines.join('\n')}\n`;
}
