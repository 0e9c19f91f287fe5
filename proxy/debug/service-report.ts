import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { ProxyMode } from '../mode.ts';
import { categorizeEndpoints } from '../state/categorize.ts';
import type { ServicePort, ServicePortState } from '../state/model.ts';
import { conditionOf } from '../trace/explain.ts';
import { frontendsOf } from '../trace/frontends.ts';
import type { LiveRules } from '../trace/live-rules.ts';
import type { TraceHost } from '../trace/packet.ts';
import { prepareTrace, type Trace, type TraceSubject } from '../trace/trace.ts';
import { sendersOf } from './senders.ts';
import type { SyncState } from './sync-state.ts';

export interface ServiceReport {
  namespace: string;
  name: string;
  node: string;
  mode: ProxyMode['name'];
  families: FamilyReport[];
}

interface FamilyReport {
  family: IpFamily;
  /** When the rules of this Service were last written, or found to be right, in the kernel. */
  lastSync: { time: string; ageSeconds: number };
  ports: PortReport[];
  /** What could not be read of the kernel's rules. */
  gaps: readonly string[];
}

interface PortReport extends ServicePort {
  endpoints: { address: string; condition: string; isLocal: boolean; usedFor: ('Cluster' | 'Local')[] }[];
  traces: (Trace & { from: string })[];
}

export interface ReportDependencies {
  mode: ProxyMode;
  families: readonly IpFamily[];
  state: SyncState;
  host(): TraceHost;
  nowMs(): number;
  /** The kernel's own rules; given where they are to be compared. */
  live?(family: IpFamily): Promise<LiveRules>;
}

/** Everything about one Service on this node. Its cost follows that Service, unless the kernel's rules are read. @returns undefined when no rules are made for it */
export async function buildServiceReport(
  namespace: string,
  name: string,
  deps: ReportDependencies,
): Promise<ServiceReport | undefined> {
  const families: FamilyReport[] = [];
  let node = '';
  for (const family of deps.families) {
    const known = deps.state.of(family);
    const service = known?.snapshot.services.get(`${namespace}/${name}`);
    const syncedMs = deps.state.syncedMs(family, `${namespace}/${name}`);
    if (!known || !service || syncedMs === undefined) continue;
    node = known.node.node.nodeName;
    const subject = { family, mode: deps.mode, snapshot: known.snapshot, node: known.node, host: deps.host() };
    const live = await deps.live?.(family);
    const ports: PortReport[] = [];
    for (const state of service.ports) ports.push(await reportPort(state, subject, live));
    families.push({
      family,
      lastSync: { time: new Date(syncedMs).toISOString(), ageSeconds: (deps.nowMs() - syncedMs) / 1000 },
      ports,
      gaps: live?.gaps ?? [],
    });
  }
  return families.length === 0 ? undefined : { namespace, name, node, mode: deps.mode.name, families };
}

async function reportPort(
  { port, endpoints }: ServicePortState,
  subject: TraceSubject,
  live?: LiveRules,
): Promise<PortReport> {
  const { node, family } = subject;
  const picked = categorizeEndpoints(endpoints, port, node.node);
  const nodeAddress = node.nodePortAddresses?.[0] ?? node.nodeIps[0] ?? '';
  const trace = await prepareTrace(subject, [`${port.namespace}/${port.name}`], live?.rulesets);
  const questions = frontendsOf(port, nodeAddress).flatMap((frontend) =>
    sendersOf(family, node).map((sender) => ({ frontend, sender })),
  );
  const traces: PortReport['traces'] = [];
  await runInSlices(
    (function* () {
      for (const { frontend, sender } of questions) {
        const { from, ...source } = sender;
        const { protocol, address, port: number } = frontend;
        traces.push({ from, ...trace({ protocol, ...source, destination: address, destinationPort: number }) });
        yield;
      }
    })(),
  );
  return {
    ...port,
    endpoints: endpoints.map((endpoint) => ({
      address: endpoint.address,
      condition: conditionOf(endpoint),
      isLocal: endpoint.isLocal,
      usedFor: [
        ...(picked.cluster.includes(endpoint) ? (['Cluster'] as const) : []),
        ...(picked.local.includes(endpoint) ? (['Local'] as const) : []),
      ],
    })),
    traces,
  };
}
