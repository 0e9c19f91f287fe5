import type { AddressInfo } from 'node:net';
import type { EndpointSlice, Node, ObjectReference, Service } from '../src/kube/types.ts';
import type { Run } from '../src/netfilter/iptables.ts';
import type { IpFamily } from '../src/netfilter/tables.ts';
import type { Clock } from '../src/runtime/clock.ts';
import { createHeartbeats } from '../src/runtime/heartbeat.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { Registry } from '../src/runtime/metrics.ts';
import { type KubeProxyConfiguration, resolveBindAddresses } from './config/kube-proxy-configuration.ts';
import { createProxyDebug } from './debug/debug.ts';
import type { DebugAccess } from './debug/routes.ts';
import { createFamily } from './family.ts';
import { feedTrackers, type ObjectSource } from './feed.ts';
import type { ProgramFacts } from './health/metrics-server.ts';
import { createProxyEndpoints } from './health/proxy-endpoints.ts';
import { createProxyHealth } from './health/proxy-health.ts';
import { createServiceHealth } from './health/service-health.ts';
import { createLeftovers, removeAllModes } from './leftovers.ts';
import { createProxyMetrics } from './metrics.ts';
import type { ModeName } from './mode.ts';
import { createModes } from './modes.ts';
import { computeHealthCheckAddresses, computeNodeOptions } from './node-options.ts';
import { followNode, type OwnNode, UNKNOWN_NODE } from './own-node.ts';
import { createProblemLog } from './problem-log.ts';
import { selectMode } from './select-mode.ts';
import { followServiceCidrs, type ServiceCidr } from './service-cidrs.ts';
import type { ExternalIpPolicy } from './state/service.ts';
import { createChangeTracker } from './state/tracker.ts';
import { syncPeriodsOf } from './sync-periods.ts';
import { type ConntrackHash, createSysctlApplier, type SysctlPort } from './sysctls.ts';

const FAMILIES: readonly IpFamily[] = ['IPv4', 'IPv6'];

export interface ProxyOptions {
  /** Name of this node, in lower case. */
  nodeName: string;
  config: KubeProxyConfiguration;
  /** IP families to serve; all that the host can do in the mode unless given. */
  families?: readonly IpFamily[];
  /** Path of the network namespace to work in; the process's own unless given. */
  netns?: string;
  /** For /statusz and /flagz. */
  program?: ProgramFacts;
}

export interface ProxyDependencies {
  informers: {
    services: ObjectSource<Service>;
    endpointSlices: ObjectSource<EndpointSlice>;
    /** At least the Node of this name. */
    nodes: ObjectSource<Node>;
    /** Not waited for: many servers have none. */
    serviceCidrs?: ObjectSource<ServiceCidr>;
  };
  /** The exec door of src/linux. */
  run: Run;
  sysctls: SysctlPort;
  conntrackHash?: ConntrackHash;
  events?: { event(object: ObjectReference, type: 'Normal' | 'Warning', reason: string, message: string): void };
  log: Logger;
  clock: Clock;
  metrics: Registry;
  /** Who may read /debug/berth on the metrics port; it is not served without. */
  debugAccess?: DebugAccess;
}

export interface ServiceProxy {
  /** Serves until aborted. The rules stay when it ends. Rejects when the mode cannot run on this host. */
  run(signal: AbortSignal): Promise<void>;
  /** Removes every rule, chain, table, set and link of every mode. Idempotent; needs neither informers nor a run before. */
  cleanup(): Promise<void>;
  /** Where `healthz` and `metrics` answer, once they do. */
  addresses(): ReadonlyMap<string, AddressInfo>;
  /** The mode that runs; undefined before it was picked. */
  mode(): ModeName | undefined;
}

/** kube-proxy's work on this node. */
export function createProxy(options: ProxyOptions, deps: ProxyDependencies): ServiceProxy {
  const { config, nodeName, netns } = options;
  const { clock, informers } = deps;
  const families = options.families ?? FAMILIES;
  const log = deps.log.child({ component: 'proxy' });
  const nodeReference: ObjectReference = { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName };
  const warn = (about: ObjectReference | 'node', reason: string, message: string) =>
    deps.events?.event(about === 'node' ? nodeReference : about, 'Warning', reason, message);
  const modes = createModes({ ...deps, config, log, netns, warn });
  const primary: IpFamily = config.bindAddress.includes(':') ? 'IPv6' : 'IPv4';
  let addresses: () => ReadonlyMap<string, AddressInfo> = () => new Map();
  let runningMode: ModeName | undefined;

  return {
    addresses: () => addresses(),
    mode: () => runningMode,
    cleanup: () => removeAllModes(modes, families),

    async run(signal) {
      const startedAtMs = clock.nowMs();
      const selected = await selectMode({ wanted: config.mode, modes, families, primary });
      const { mode } = selected;
      runningMode = mode.name;
      log.info({ mode: mode.name, families: selected.families, why: selected.reason || undefined }, 'proxy mode');

      let ownNode: OwnNode = UNKNOWN_NODE;
      let serviceCidrs: readonly string[] = [];
      const metrics = createProxyMetrics(deps.metrics, mode.name);
      const heartbeats = createHeartbeats(clock);
      const { syncPeriodMs } = syncPeriodsOf(config, mode.name);
      const health = createProxyHealth({ clock, timeoutMs: 2 * syncPeriodMs });
      const bind = resolveBindAddresses(config);
      const debug = createProxyDebug(
        { mode, families: selected.families, netns },
        { run: deps.run, clock, log, access: deps.debugAccess },
      );
      const endpoints = createProxyEndpoints(
        { bind, config, mode: mode.name, program: options.program },
        {
          health,
          overdueLoops: heartbeats.overdue,
          metrics,
          registry: deps.metrics,
          clock,
          log,
          warn,
          debug: debug.routes,
        },
      );
      addresses = endpoints.addresses;
      const serviceHealth = createServiceHealth({
        isProxyHealthy: () => health.state().isHealthy,
        addresses: (seen) => computeHealthCheckAddresses(config, mode.name, ownNode, seen, netns),
        log,
        warn,
      });
      const sysctls = createSysctlApplier({ port: deps.sysctls, hash: deps.conntrackHash, config, log, warn });
      const leftovers = createLeftovers(mode.name, modes, log);
      const problems = createProblemLog({ log, warn, setCount: metrics.setProblems });
      const trackers = selected.families.map((family) =>
        createChangeTracker({ family, nodeName, externalIps: externalIpPolicy(config) }),
      );
      const syncs = selected.families.map((family, index) =>
        createFamily({
          family,
          mode,
          config,
          tracker: trackers[index]!,
          leftovers,
          problems,
          metrics,
          netns,
          startedAtMs,
          clock,
          log,
          nodeOptions: () =>
            computeNodeOptions({ config, mode: mode.name, nodeName, ownNode, serviceCidrs, family, netns }),
          applySysctls: sysctls.apply,
          onSynced(done) {
            const { snapshot } = done;
            health.updated(family);
            debug.synced(family, done);
            sysctls.applyConntrack();
            serviceHealth.update(snapshot);
          },
          beat: heartbeats.register(`proxy-${family}`, 3 * syncPeriodMs),
        }),
      );

      let isStarted = false;
      const request = () => {
        const pending = trackers.map((tracker) => tracker.pending());
        metrics.setPending({
          services: Math.max(...pending.map(({ services }) => services)),
          endpoints: Math.max(...pending.map(({ endpoints }) => endpoints)),
        });
        // Nothing is written before all inputs are known: half a list would cut services off.
        if (!isStarted) return;
        for (const [index, sync] of syncs.entries()) {
          health.queued(selected.families[index]!);
          metrics.queued(selected.families[index]!, clock.nowMs());
          sync.request();
        }
      };
      const stops = [
        feedTrackers(informers, trackers, {
          serviceChanged() {
            metrics.serviceChanged();
            request();
          },
          endpointsChanged() {
            metrics.endpointsChanged();
            request();
          },
        }),
        followNode(informers.nodes, nodeName, {
          seen: health.nodeChanged,
          changed(node) {
            ownNode = node;
            request();
          },
        }),
        followServiceCidrs(informers.serviceCidrs, (cidrs) => {
          serviceCidrs = cidrs;
          request();
        }),
      ];
      deps.events?.event(nodeReference, 'Normal', 'Starting', `Starting kube-proxy (berth), mode ${mode.name}.`);
      // One part that fails (a busy port under bindAddressHardFail) ends the others.
      const ownStop = new AbortController();
      const stop = AbortSignal.any([signal, ownStop.signal]);
      const start = async () => {
        await Promise.all(
          [informers.services, informers.endpointSlices, informers.nodes].map((one) => one.synced(stop)),
        );
        isStarted = true;
        request();
      };
      const parts = [endpoints.run(stop), ...syncs.map((sync) => sync.run(stop)), start()];
      try {
        await Promise.all(parts);
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        ownStop.abort();
        for (const unsubscribe of stops) unsubscribe();
        await Promise.allSettled(parts);
        await Promise.allSettled([serviceHealth.close(), ...syncs.map((sync) => sync.proxier.close?.())]);
      }
    },
  };
}

/** Pods are told by clusterCIDR only: a pod's address as an external IP would be an attack on that pod. */
function externalIpPolicy({ clusterCIDR, berth }: KubeProxyConfiguration): ExternalIpPolicy {
  return { allowed: berth.externalIPCIDRs, forbidden: clusterCIDR === '' ? [] : clusterCIDR.split(',') };
}
