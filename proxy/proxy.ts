import type { AddressInfo } from 'node:net';
import type { EndpointSlice, Node, ObjectReference, Service } from '../src/kube/types.ts';
import { createConntrack } from '../src/netfilter/ctnetlink.ts';
import type { Run } from '../src/netfilter/iptables.ts';
import type { IpFamily } from '../src/netfilter/tables.ts';
import type { Clock } from '../src/runtime/clock.ts';
import { createHeartbeats } from '../src/runtime/heartbeat.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { Registry } from '../src/runtime/metrics.ts';
import { runAll } from '../src/runtime/run-all.ts';
import { type KubeProxyConfiguration, resolveBindAddresses } from './config/kube-proxy-configuration.ts';
import { createConntrackCleaner } from './conntrack/cleaner.ts';
import { createFamilySync, type FamilySync } from './family-sync.ts';
import { feedTrackers, type ObjectSource } from './feed.ts';
import { createHealthzApp } from './health/healthz-server.ts';
import { createMetricsApp } from './health/metrics-server.ts';
import { createProxyHealth } from './health/proxy-health.ts';
import { createHttpEndpoints } from './health/servers.ts';
import {
  collectServiceHealthChecks,
  createServiceHealthServers,
  mergeServiceHealthChecks,
  type ServiceHealthCheck,
} from './health/service-health.ts';
import { createProxyMetrics } from './metrics.ts';
import type { ModeName } from './mode.ts';
import { MODES } from './modes.ts';
import { addressesOf, readLocalInterfaces } from './node-addresses.ts';
import { computeHealthCheckAddresses, computeNodeOptions } from './node-options.ts';
import { type OwnNode, readOwnNode, UNKNOWN_NODE } from './own-node.ts';
import { type ChangeTracker, createChangeTracker } from './state/tracker.ts';
import { computeConntrackSysctls, ensureSysctls, type SysctlPort, type SysctlSetting } from './sysctls.ts';

const FAMILIES: readonly IpFamily[] = ['IPv4', 'IPv6'];

export interface ProxyOptions {
  /** Name of this node, in lower case. */
  nodeName: string;
  config: KubeProxyConfiguration;
  /** IP families to serve; all that the host's iptables can do unless given. */
  families?: readonly IpFamily[];
  /** Path of the network namespace in which iptables runs; the process's own unless given. */
  netns?: string;
}

export interface ProxyDependencies {
  informers: {
    services: ObjectSource<Service>;
    endpointSlices: ObjectSource<EndpointSlice>;
    /** At least the Node of this name. */
    nodes: ObjectSource<Node>;
  };
  /** The exec door of src/linux. */
  run: Run;
  sysctls: SysctlPort;
  events?: { event(object: ObjectReference, type: 'Normal' | 'Warning', reason: string, message: string): void };
  log: Logger;
  clock: Clock;
  metrics: Registry;
}

export interface ServiceProxy {
  /** Serves until aborted. The rules stay when it ends. Rejects when the mode cannot run on this host. */
  run(signal: AbortSignal): Promise<void>;
  /** Removes every rule and chain of the proxy. Idempotent; needs neither informers nor a run before. */
  cleanup(): Promise<void>;
  /** Where `healthz` and `metrics` answer, once they do. */
  addresses(): ReadonlyMap<string, AddressInfo>;
}

/** kube-proxy's work on this node. @throws Error at once when the configuration asks for a mode that there is not. */
export function createProxy(options: ProxyOptions, deps: ProxyDependencies): ServiceProxy {
  const { config, nodeName } = options;
  const { clock, informers } = deps;
  const createMode = MODES[config.mode as ModeName];
  if (!createMode) throw new Error(`mode "${config.mode}" is not supported yet; use iptables`);
  const log = deps.log.child({ component: 'proxy' });
  const { syncPeriodMs, minSyncPeriodMs } = config.iptables;
  const heartbeats = createHeartbeats(clock);
  const health = createProxyHealth({ clock, timeoutMs: 2 * syncPeriodMs });
  const metrics = createProxyMetrics(deps.metrics);
  const nodeReference: ObjectReference = { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName };
  let ownNode: OwnNode = UNKNOWN_NODE;

  const bind = resolveBindAddresses(config);
  const endpoints = createHttpEndpoints(
    [
      {
        name: 'healthz',
        address: bind.healthz,
        field: 'healthzBindAddress',
        failureReason: 'FailedToStartProxierHealthcheck',
        handler: createHealthzApp({ ...metrics, state: health.state, overdueLoops: heartbeats.overdue }),
      },
      {
        name: 'metrics',
        address: bind.metrics,
        field: 'metricsBindAddress',
        failureReason: 'FailedToStartMetricServer',
        handler: createMetricsApp({ metrics: deps.metrics, mode: config.mode, config }),
      },
    ],
    {
      hardFail: config.bindAddressHardFail,
      clock,
      log,
      warn: (reason, message) => deps.events?.event(nodeReference, 'Warning', reason, message),
    },
  );
  const serviceHealth = createServiceHealthServers({
    isProxyHealthy: () => health.state().isHealthy,
    log,
    warn: (service, message) => deps.events?.event(service, 'Warning', 'FailedToStartServiceHealthcheck', message),
  });
  const checksOf = new Map<IpFamily, ReadonlyMap<string, ServiceHealthCheck>>();

  const mode = createMode({ ...deps, config, log, netns: options.netns });

  async function usableFamilies(): Promise<readonly IpFamily[]> {
    if (options.families) return options.families;
    const usable: IpFamily[] = [];
    for (const family of FAMILIES) {
      const why = await mode.usable(family);
      if (why === undefined) usable.push(family);
      else if (family === 'IPv4') throw new Error(`mode "${mode.name}" cannot run on this host: ${why}`);
      else log.info({ why }, 'the mode has no IPv6 on this host: it is left out');
    }
    return usable;
  }

  const refusedSysctls = new Set<string>();
  function applySysctls(settings: readonly SysctlSetting[]): void {
    ensureSysctls(deps.sysctls, settings, (sysctl, error) => {
      if (!refusedSysctls.has(sysctl)) log.warn({ sysctl, err: error }, 'a sysctl stays as it is');
      refusedSysctls.add(sysctl);
    });
  }

  function createFamily(family: IpFamily, tracker: ChangeTracker, startedAtMs: number): FamilySync {
    const cleaner = createConntrackCleaner({
      conntrack: createConntrack({ netns: options.netns }),
      localAddresses: () => addressesOf(readLocalInterfaces(options.netns)),
      log: log.child({ family }),
    });
    const nodeOptions = () => computeNodeOptions(config, nodeName, ownNode, family);
    return createFamilySync({
      family,
      tracker,
      proxier: mode.proxier(family),
      clock,
      log: log.child({ family }),
      minSyncPeriodMs,
      syncPeriodMs,
      nodeOptions,
      beat: heartbeats.register(`proxy-${family}`, 3 * syncPeriodMs),
      onFailed: (kind) => metrics.syncFailed(family, kind),
      async onSynced({ snapshot, dirty, report, durationMs, triggerTimesMs }) {
        const nowMs = clock.nowMs();
        health.updated(family);
        metrics.synced(family, report, durationMs, nowMs);
        // What happened before this process began says nothing about it.
        for (const triggerMs of triggerTimesMs)
          if (triggerMs >= startedAtMs) metrics.programmed(family, nowMs - triggerMs);
        applySysctls(computeConntrackSysctls(config.conntrack));
        applySysctls(mode.sysctlsAfterSync?.(family, nodeOptions()) ?? []);
        checksOf.set(family, collectServiceHealthChecks(snapshot));
        const addresses = computeHealthCheckAddresses(config, ownNode, [...checksOf.keys()]);
        void serviceHealth.sync(mergeServiceHealthChecks(checksOf.values()), addresses);
        const startMs = clock.monotonicMs();
        const deleted = await cleaner.clean(snapshot, dirty);
        metrics.flowsCleaned(family, deleted, clock.monotonicMs() - startMs);
      },
    });
  }

  return {
    addresses: endpoints.addresses,

    async run(signal) {
      const startedAtMs = clock.nowMs();
      const families = await usableFamilies();
      const trackers = families.map((family) => createChangeTracker({ family, nodeName }));
      const syncs = families.map((family, index) => createFamily(family, trackers[index]!, startedAtMs));
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
          health.queued(families[index]!);
          metrics.queued(families[index]!, clock.nowMs());
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
        informers.nodes.subscribe(nodeHandlers(request)),
      ];
      deps.events?.event(nodeReference, 'Normal', 'Starting', 'Starting kube-proxy (berth).');
      // One part that fails (a busy port under bindAddressHardFail) ends the others.
      const ownStop = new AbortController();
      const stop = AbortSignal.any([signal, ownStop.signal]);
      const parts = [endpoints.run(stop), ...syncs.map((sync) => sync.run(stop)), start()];
      async function start(): Promise<void> {
        await Promise.all(
          [informers.services, informers.endpointSlices, informers.nodes].map((one) => one.synced(stop)),
        );
        isStarted = true;
        request();
      }
      try {
        await Promise.all(parts);
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        ownStop.abort();
        for (const unsubscribe of stops) unsubscribe();
        await Promise.allSettled(parts);
        await serviceHealth.close();
      }
    },

    async cleanup() {
      await runAll(
        'remove the rules of the proxy',
        (await usableFamilies()).map((family) => () => mode.cleanup(family)),
      );
    },
  };

  function nodeHandlers(request: () => void) {
    const changed = (node: Node) => {
      if (node.metadata.name !== nodeName) return;
      health.nodeChanged(node);
      const now = readOwnNode(node);
      if (JSON.stringify(now) === JSON.stringify(ownNode)) return;
      ownNode = now;
      request();
    };
    return { added: changed, updated: (_old: Node, node: Node) => changed(node) };
  }
}
