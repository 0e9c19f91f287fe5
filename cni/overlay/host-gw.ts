/**
 * The host-gw backend: pods of other nodes are reached by plain routes through those nodes. Nothing is encapsulated, so the MTU
 * stays; all nodes must share one L2 network. Cost: one route per node, one netlink message per node that comes, goes or moves.
 * Traffic flows on while this is not running; only new nodes are not reached.
 */
import type { Node } from '../../src/kube/types.ts';
import { openRtnetlink, type Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { createBoundedRunner } from '../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { ROUTE_PROTOCOL } from '../node/route-protocol.ts';
import { computeHostGatewayRoutes, diffRoutes } from './host-gw-routes.ts';

/** The nodes of the cluster, as an informer offers them. */
export interface NodeInformer {
  synced(signal?: AbortSignal): Promise<void>;
  list(): Node[];
  subscribe(handlers: {
    added(node: Node): void;
    updated(old: Node, node: Node): void;
    deleted(node: Node): void;
  }): () => void;
}

export interface HostGatewayOptions {
  nodeName: string;
  /** The pods' bridge: addresses behind it are no nodes. Default `cni0`. */
  bridge?: string;
  /** How often the kernel's routes are looked at again. Default 10 s, as flannel does. */
  resyncMs?: number;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
}

export interface HostGateway {
  /** Follows the nodes until the signal aborts; then the routes stay. */
  run(signal: AbortSignal): Promise<void>;
  /** One pass: compares the kernel's routes with the nodes and writes the difference. */
  sync(): Promise<{ changed: number }>;
  /** Deletes every route of ours. */
  remove(): Promise<void>;
}

const MIN_INTERVAL_MS = 100;
const RETRY_MS = 2_000;

export function createHostGateway(
  options: HostGatewayOptions,
  deps: { nodes: NodeInformer; log: Logger; clock: Clock; heartbeat?: () => void },
): HostGateway {
  const { nodes, log, clock } = deps;
  /** What was said last about a node that is skipped; said again only when it changes. */
  let reported = new Map<string, string>();

  async function withNetlink<T>(work: (netlink: Rtnetlink) => Promise<T>): Promise<T> {
    const netlink = openRtnetlink(options.hostNetns);
    try {
      return await work(netlink);
    } finally {
      netlink.close();
    }
  }

  function report(skipped: readonly { node: string; reason: string }[]): void {
    for (const { node, reason } of skipped)
      if (reported.get(node) !== reason) log.warn({ node, reason }, 'pods of this node are not reachable by host-gw');
    reported = new Map(skipped.map(({ node, reason }) => [node, reason]));
  }

  function sync(): Promise<{ changed: number }> {
    return withNetlink(async (netlink) => {
      const [addresses, routes, bridge] = await Promise.all([
        netlink.listAddresses({ family: 4 }),
        netlink.listRoutes({ family: 4, table: 254 }),
        netlink.getLink(options.bridge ?? 'cni0'),
      ]);
      const local = {
        addresses: addresses.map(({ address }) => address.split('/')[0]!),
        routes,
        podLinkIndexes: bridge ? [bridge.index] : [],
      };
      const plan = computeHostGatewayRoutes({ nodeName: options.nodeName, nodes: nodes.list(), local });
      report(plan.skipped);
      const changes = diffRoutes(plan.routes, routes);
      // Removed first: a pod CIDR may have moved from one node to another.
      await runAll('write host-gw routes', [
        ...changes.remove.map((route) => () => netlink.deleteRoute(route).catch(ignoreGone)),
        ...changes.replace.map((route) => () => netlink.replaceRoute(route)),
        ...changes.add.map((route) => () => netlink.addRoute(route).catch(explainForeign)),
      ]);
      const changed = changes.remove.length + changes.replace.length + changes.add.length;
      if (changed > 0) log.info({ changed, routes: plan.routes.length }, 'host-gw routes written');
      return { changed };
    });
  }

  return {
    sync,

    async run(signal) {
      const runner = createBoundedRunner({
        clock,
        minIntervalMs: MIN_INTERVAL_MS,
        maxIntervalMs: options.resyncMs ?? 10_000,
        retryMs: RETRY_MS,
        async run() {
          deps.heartbeat?.();
          await sync();
        },
        onError: (error) => log.error({ err: error }, 'host-gw routes could not be written; trying again'),
      });
      // Before all nodes are known, a missing one would look like a deleted one.
      await nodes.synced(signal).catch((error) => {
        if (!signal.aborted) throw error;
      });
      const unsubscribe = nodes.subscribe({
        added: runner.request,
        updated: (old, node) => {
          if (isRoutedAlike(old, node)) return;
          runner.request();
        },
        deleted: runner.request,
      });
      runner.request();
      await runner.run(signal);
      unsubscribe();
    },

    remove: () =>
      withNetlink(async (netlink) => {
        const own = await netlink.listRoutes({ protocol: ROUTE_PROTOCOL.overlay });
        await runAll(
          'remove host-gw routes',
          own.map((route) => () => netlink.deleteRoute(route).catch(ignoreGone)),
        );
      }),
  };
}

/** Nodes change every few seconds (heartbeats); only these fields matter here. */
function isRoutedAlike(one: Node, other: Node): boolean {
  const facts = ({ spec, status }: Node) => JSON.stringify([spec.podCIDR, status?.addresses]);
  return facts(one) === facts(other);
}

function ignoreGone(error: unknown): void {
  if (!isNetlinkError(error, 'ESRCH')) throw error;
}

function explainForeign(error: unknown): never {
  if (isNetlinkError(error, 'EEXIST'))
    throw new Error(`${error.operation}: another program has a route to these pods; remove it or stop that program`, {
      cause: error,
    });
  throw error;
}
