/**
 * The overlay's daemon: makes this node's pods reachable by the other nodes, and theirs by this one.
 *
 *     own Node, uplink ──► SelfNode ──► backend.ensure ──► annotations, subnet.env, rules
 *     Node objects ──────► PeerTable ─► backend.sync   ──► routes, neighbours, FDB
 *
 * One pass at a time. A node that comes or goes makes a pass over that node alone; now and then (10 s, as flanneld does) everything is compared
 * with the kernel, the uplink's addresses too. Nothing is written before the first list of nodes: one that is not known yet would look like
 * one that is gone. Whatever ends, traffic flows on: the kernel needs none of this.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Node } from '../../src/kube/types.ts';
import type { run as execRun } from '../../src/linux/exec.ts';
import { createBoundedRunner } from '../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runTogether } from '../../src/runtime/run-together.ts';
import type { AnnotationKeys } from './annotations.ts';
import type { BackendReady, OverlayBackend, PerFamily, SelfNode } from './backend.ts';
import type { OverlayMetrics } from './metrics.ts';
import type { NetConf } from './net-conf.ts';
import { type NodeInformer, untilListed } from './node-informer.ts';
import { createNodePublisher } from './node-publisher.ts';
import { createPeerTable } from './peer-table.ts';
import { prepareHost } from './prepare-host.ts';
import { keepRules } from './rules-keeper.ts';
import { createSelfReader, watchUplinks } from './self-node.ts';
import { renderSubnetFile, writeSubnetFile } from './subnet-file.ts';
import type { Traffic } from './traffic.ts';
import { createUnreached } from './unreached.ts';
import type { UplinkChoice } from './uplink.ts';

export interface OverlayOptions {
  nodeName: string;
  conf: NetConf;
  keys: AnnotationKeys;
  uplink: UplinkChoice;
  /** Where the CNI plugin `flannel` looks; undefined: nowhere. */
  subnetFile?: string;
  /** Somebody on this node masquerades what leaves the cluster: for subnet.env. */
  ipMasq: boolean;
  blackholeRoute: boolean;
  setNetworkUnavailable: boolean;
  /** Take the place of flanneld: its links of other backends go too. */
  takeOver: boolean;
  /** How often everything is compared with the kernel. Default 10 s. */
  resyncMs?: number;
  /** How often the rules are. Default 30 s: it takes programs. */
  rulesResyncMs?: number;
  hostNetns?: string;
}

export interface OverlayDeps {
  backend: OverlayBackend;
  nodes: NodeInformer;
  client: Pick<KubeClient, 'patch'>;
  traffic: Traffic;
  run: typeof execRun;
  log: Logger;
  clock: Clock;
  metrics?: OverlayMetrics;
  heartbeat?: () => void;
}

export interface OverlayState {
  /** The kernel leads to all peers that can be reached, and this node's annotations say how it is reached. */
  ready: boolean;
  /** What it waits for. */
  reason?: string;
  backend: string;
  uplink?: { name: string; publicIps: PerFamily<string> };
  mtu?: number;
  peers: number;
  skipped: readonly { node: string; reason: string }[];
}

export interface Overlay {
  run(signal: AbortSignal): Promise<void>;
  state(): OverlayState;
  /** Bytes that a pod's packet may have; undefined until the backend is there. */
  mtu(): number | undefined;
}

const MIN_INTERVAL_MS = 10;
const RETRY_MS = 2_000;
const DEFAULT_RESYNC_MS = 10_000;

export function createOverlay(options: OverlayOptions, deps: OverlayDeps): Overlay {
  const { nodeName, conf, keys } = options;
  const { backend, nodes, log, clock, metrics } = deps;
  const table = createPeerTable({ self: nodeName, backendType: backend.type, keys, networks: conf.networks });
  const publisher = createNodePublisher(options, { ...deps, ownNode: () => nodes.get(nodeName) });
  const dirty = new Set<string>();
  const reader = createSelfReader({ ...options, backendType: backend.type });
  /** Resolved once the backend is there. */
  const there = Promise.withResolvers<void>();
  let self: SelfNode | undefined;
  let ready: BackendReady | undefined;
  let waitsFor: string | undefined = 'the list of nodes';
  /** Why the last pass failed: told once, however often it is tried. */
  let failure: string | undefined;
  let isSynced = false;
  /** What this node is has changed since the others were told. */
  let isUnannounced = true;
  const unreached = createUnreached(table, deps);
  let lastFullMs = Number.NEGATIVE_INFINITY;
  let lookAtSelf = true;

  /** Waiting is no failure: it is said once, and the Node object's next change wakes us. */
  function waitFor(reason: string): void {
    if (waitsFor !== reason) log.info({ node: nodeName, reason }, 'the overlay waits');
    waitsFor = reason;
  }

  /** @returns whether this node has an overlay now. */
  async function ensureSelf(): Promise<boolean> {
    const found = await reader.read(nodes.get(nodeName));
    if ('waitsFor' in found) {
      waitFor(found.waitsFor);
      return ready !== undefined;
    }
    const { node, uplink } = found;
    if (ready !== undefined && isDeepStrictEqual(node, self)) {
      waitsFor = undefined;
      return true;
    }
    if (!self)
      await prepareHost({ ...options, backendType: backend.type, podCidrs: Object.values(node.podCidrs) }, deps);
    else log.info({ before: self, now: node }, 'this node is reached in another way now');
    const made = await backend.ensure({ ...node, earlierData: reader.earlierData(nodes.get(nodeName)) });
    for (const name of table.setOwn({ podCidrs: node.podCidrs, uplinkSubnets: uplink.subnets })) dirty.add(name);
    self = node;
    ready = made;
    waitsFor = undefined;
    there.resolve();
    metrics?.mtu.set(made.mtu);
    metrics?.info.reset();
    metrics?.info.set({ backend: backend.type, uplink: uplink.name }, 1);
    log.info(
      { backend: backend.type, uplink: uplink.name, publicIps: node.publicIps, mtu: made.mtu },
      'overlay is there',
    );
    isUnannounced = true;
    return true;
  }

  function announce(): void {
    if (!self || !ready || !isUnannounced) return;
    publisher.say({ backendType: backend.type, publicIps: self.publicIps, data: ready.data });
    isUnannounced = false;
  }

  /** Somebody may have emptied /run/flannel. */
  function keepSubnetFile(): void {
    if (!self || !ready || options.subnetFile === undefined) return;
    const { networks } = conf;
    const { podCidrs } = self;
    writeSubnetFile(
      options.subnetFile,
      renderSubnetFile({ networks, podCidrs, mtu: ready.mtu, ipMasq: options.ipMasq }),
    );
  }

  async function pass(): Promise<void> {
    deps.heartbeat?.();
    const startedMs = clock.monotonicMs();
    const isDue = startedMs - lastFullMs >= (options.resyncMs ?? DEFAULT_RESYNC_MS);
    let problem: unknown;
    if (lookAtSelf || isDue || !ready) {
      lookAtSelf = false;
      const isThere = await ensureSelf().catch((error) => {
        problem = error;
        return ready !== undefined;
      });
      // Without an uplink, say, other nodes come and go all the same.
      if (isThere) await syncPeers(isDue || isUnannounced, startedMs);
    } else await syncPeers(isUnannounced, startedMs);
    if (problem !== undefined) throw problem;
    failure = undefined;
  }

  async function syncPeers(full: boolean, startedMs: number): Promise<void> {
    const changed = full ? undefined : new Set(dirty);
    dirty.clear();
    if (changed?.size === 0) return;
    try {
      const outcome = await backend.sync(table.peers, changed);
      metrics?.written.inc(outcome.changed);
      unreached.record(outcome.skipped, changed);
      if (outcome.changed > 0)
        log.info({ changed: outcome.changed, peers: table.peers.size, full }, 'routes to other nodes written');
    } catch (error) {
      for (const name of changed ?? []) dirty.add(name);
      if (full) lastFullMs = Number.NEGATIVE_INFINITY;
      throw error;
    }
    isSynced = true;
    announce();
    metrics?.syncSeconds.observe({ kind: full ? 'full' : 'change' }, (clock.monotonicMs() - startedMs) / 1000);
    if (!full) return;
    keepSubnetFile();
    lastFullMs = startedMs;
  }

  const runner = createBoundedRunner({
    clock,
    minIntervalMs: MIN_INTERVAL_MS,
    maxIntervalMs: options.resyncMs ?? DEFAULT_RESYNC_MS,
    retryMs: RETRY_MS,
    run: pass,
    onError(error) {
      metrics?.failures.inc();
      const reason = error instanceof Error ? error.message : String(error);
      if (failure !== reason) log.error({ err: error }, 'the overlay could not be brought in order; trying again');
      failure = reason;
      lookAtSelf = true;
    },
  });

  function follow(names: Set<string>): void {
    for (const name of names) dirty.add(name);
    if (names.size > 0) runner.request();
  }

  function followOwn(): void {
    lookAtSelf = true;
    publisher.look();
    runner.request();
  }

  async function keepRulesOnceThere(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => there.resolve(), { once: true });
    await there.promise;
    const of = {
      networks: conf.networks,
      podCidrs: () => self!.podCidrs,
      ...(options.rulesResyncMs !== undefined && { intervalMs: options.rulesResyncMs }),
    };
    await keepRules(deps.traffic, of, deps, signal);
  }

  async function followNodes(signal: AbortSignal): Promise<void> {
    await untilListed(nodes, deps, signal);
    if (signal.aborted) return;
    const isOwn = (node: Node) => node.metadata.name === nodeName;
    const unsubscribe = nodes.subscribe({
      added: (node) => (isOwn(node) ? followOwn() : follow(table.put(node))),
      updated: (_old, node) => (isOwn(node) ? followOwn() : follow(table.put(node))),
      deleted: (node) => (isOwn(node) ? followOwn() : follow(table.remove(node.metadata.name))),
    });
    // A cable that was out takes the routes over it along.
    const stopWatching = watchUplinks(options.hostNetns, clock, () => {
      lastFullMs = Number.NEGATIVE_INFINITY;
      runner.request();
    });
    runner.request();
    await runner.run(signal);
    stopWatching();
    unsubscribe();
  }

  return {
    mtu: () => ready?.mtu,

    state: () => ({
      ready: isSynced && failure === undefined && waitsFor === undefined && publisher.isDone(),
      reason: failure ?? waitsFor ?? (publisher.isDone() ? undefined : "the node's annotations"),
      backend: backend.type,
      ...(self && { uplink: { name: self.uplink.name, publicIps: self.publicIps } }),
      mtu: ready?.mtu,
      peers: table.peers.size,
      skipped: unreached.list(),
    }),

    async run(signal) {
      const parts: Parameters<typeof runTogether>[0] = {
        'overlay nodes': { run: followNodes },
        'overlay rules': { run: keepRulesOnceThere },
        'overlay annotations': publisher,
        ...(backend.run && { [`overlay backend ${backend.type}`]: { run: (stop) => backend.run!(stop) } }),
      };
      try {
        await runTogether(parts, signal);
      } finally {
        backend.close();
      }
    },
  };
}
