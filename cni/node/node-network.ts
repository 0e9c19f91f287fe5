import { readFileSync } from 'node:fs';
import { type run as execRun, run as runProgram } from '../../src/linux/exec.ts';
import { formatPrefix, networkOf, parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import type { RouteSpec } from '../../src/linux/netlink/routes.ts';
import { openRtnetlink, type Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { netnsId } from '../../src/linux/netns.ts';
import { readTableSkeleton, removeEmptyTables } from '../../src/netfilter/empty-tables.ts';
import { createIptables } from '../../src/netfilter/iptables.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import { isEmptyTransaction } from '../../src/netfilter/transaction.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { createFirewalld, SYSTEM_BUS } from '../firewall/firewalld.ts';
import { followFirewalld } from '../firewall/follow-firewalld.ts';
import { BRIDGE_ALIAS } from '../plugins/host-bridge.ts';
import { parseHostVethAlias } from '../plugins/host-veth.ts';
import { removeHostPorts } from '../portmap/leftovers.ts';
import { createBridgeGuard } from './bridge-guard.ts';
import { buildForwardRemoval, buildForwardTransaction, nodeForwardChain } from './forward-rules.ts';
import { computeGuardChains, GUARD_TABLE } from './guard-table.ts';
import { type HostRecord, openHostRecord } from './host-record.ts';
import { removeIdleBridges } from './idle-bridges.ts';
import { isMarkedTableInPlace, renderMarkedTable, renderTableRemoval } from './marked-table.ts';
import { computeNodeRoutes, diffNodeRoutes } from './node-routes.ts';
import { ROUTE_PROTOCOL } from './route-protocol.ts';
import { createSysctlKeeper, type SysctlKeeper } from './sysctl-keeper.ts';
import { createTrustedSources } from './trusted-sources.ts';

export interface NodeNetworkOptions {
  /** All pods of the cluster: one, or one of each address family. */
  clusterCidrs: readonly string[];
  serviceCidrs: readonly string[];
  /** The pods' bridge, for its removal. Default `cni0`. */
  bridge?: string;
  /** The pod network's name, for the removal of left links. Default `berth`. */
  networkName?: string;
  /** Where the host's state before the first change is kept until `remove`. */
  stateFile: string;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
  /** The bus that the host's firewalld is on. Default: the machine's, unless the namespace is another one. */
  systemBus?: string;
}

export interface NodeNetwork {
  /**
   * Brings the host into the state that pods and services need; what is right already is not written. Nothing of the cluster is
   * needed for it, so call it before anything that may send a packet to a service.
   * @returns what was changed, for the log.
   * @throws Error naming the cause and the way out (no br_netfilter, no nft, …).
   */
  ensure(signal?: AbortSignal): Promise<string[]>;
  /** For other parts that set sysctls of this host (the proxy): `remove` restores those too. Only after the first `ensure`. */
  sysctls: Pick<SysctlKeeper, 'read' | 'write'>;
  /** `ensure` now and again until the signal aborts. Failures are logged and tried again. */
  run(signal: AbortSignal): Promise<void>;
  /**
   * Takes everything of ours away and restores what was before; tables that iptables made for us and that hold nothing more go too.
   * Call it after the proxy's clean-up. Idempotent; goes on after a failure and throws all of them together.
   */
  remove(): Promise<{ /** Kernel modules that Berth loaded; they stay. */ modulesLeft: string[] }>;
}

/** How often `run` looks at the kernel again. */
const RESYNC_MS = 30_000;
/** Whatever calls for it: not more often. */
const LEAST_PAUSE_MS = 1000;

export function createNodeNetwork(
  options: NodeNetworkOptions,
  deps: { log: Logger; clock: Clock; run?: typeof execRun; heartbeat?: () => void },
): NodeNetwork {
  const { log, clock, run = runProgram } = deps;
  const netns = options.hostNetns;
  const bridge = options.bridge ?? 'cni0';
  const network = options.networkName ?? 'berth';
  const clusterCidrs = options.clusterCidrs.map(canonicalCidr);
  const serviceCidrs = options.serviceCidrs.map(canonicalCidr);
  const nft = createNft({ run, netns });
  /** A family is the node's when its pods have it. */
  const families = clusterCidrs.map((clusterCidr) => {
    const { family } = parsePrefix(clusterCidr);
    return {
      family,
      clusterCidr,
      serviceCidr: serviceCidrs.find((cidr) => parsePrefix(cidr).family === family),
      iptables: createIptables({ family: family === 4 ? 'IPv4' : 'IPv6', run, netns }),
    };
  });
  const identity = {
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    netns: netnsId(netns ?? '/proc/self/ns/net') ?? '',
  };
  const file = openHostRecord(options.stateFile, identity);
  const sysctls = createSysctlKeeper({ file, run, netns });
  /** The machine's firewalld knows nothing of other namespaces. */
  const systemBus = options.systemBus ?? (netns === undefined ? SYSTEM_BUS : undefined);
  const trustedSources =
    systemBus === undefined
      ? undefined
      : createTrustedSources({ cidrs: clusterCidrs }, { firewalld: createFirewalld(systemBus), file, log });
  const bridgeGuard = createBridgeGuard({ bridge, netns }, { nft, sysctls });

  async function withNetlink<T>(work: (netlink: Rtnetlink) => Promise<T>): Promise<T> {
    const netlink = openRtnetlink(netns);
    try {
      return await work(netlink);
    } finally {
      netlink.close();
    }
  }

  async function bridgeAddresses(netlink: Rtnetlink): Promise<string[] | null> {
    const link = await netlink.getLink(bridge);
    if (!link) return null;
    const addresses = await netlink.listAddresses({ linkIndex: link.index });
    return addresses.filter(({ scope }) => scope === 'global').map(({ address }) => address);
  }

  async function ensureRecord(signal?: AbortSignal): Promise<void> {
    if (file.read()) return;
    file.write({
      ...identity,
      sysctls: {},
      tables: await readTableSkeleton(nft, signal),
      bridgeAddresses: await withNetlink(bridgeAddresses),
      bridges: await withNetlink(async (netlink) =>
        (await netlink.listLinks()).filter(({ kind }) => kind === 'bridge').map(({ name }) => name),
      ),
      modules: [],
    });
  }

  async function ensureGuard(signal?: AbortSignal): Promise<string[]> {
    const chains = computeGuardChains({ clusterCidrs, serviceCidrs });
    const exists = (await nft.tables()).some(
      (table) => table.family === GUARD_TABLE.family && table.name === GUARD_TABLE.name,
    );
    const objects = exists ? await nft.list(GUARD_TABLE.family, GUARD_TABLE.name, signal) : [];
    if (exists && isMarkedTableInPlace(chains, objects)) return [];
    await nft.apply(renderMarkedTable(GUARD_TABLE, chains), signal);
    return [`nft table ${GUARD_TABLE.family} ${GUARD_TABLE.name}`];
  }

  async function ensureForwarding(signal?: AbortSignal): Promise<string[]> {
    const changes: string[] = [];
    for (const { family, clusterCidr, iptables } of families) {
      const saved = await iptables.save('filter', signal);
      const transaction = buildForwardTransaction(saved.get('filter'), nodeForwardChain(clusterCidr));
      if (isEmptyTransaction(transaction)) continue;
      await iptables.restore(transaction, signal);
      changes.push(`${family === 4 ? 'iptables' : 'ip6tables'} chain BERTH-FORWARD`);
    }
    return changes;
  }

  function ensureRoutes(): Promise<string[]> {
    return withNetlink(async (netlink) => {
      const loopback = await netlink.getLink('lo');
      const loopbackIndex = loopback?.index ?? 1;
      const add: RouteSpec[] = [];
      const remove: RouteSpec[] = [];
      for (const { family, clusterCidr, serviceCidr } of families) {
        const routes = await netlink.listRoutes({ family, table: 254 });
        const want = computeNodeRoutes({ clusterCidr, serviceCidr, loopbackIndex, routes });
        const changes = diffNodeRoutes(want, routes);
        add.push(...changes.add);
        remove.push(...changes.remove);
      }
      for (const route of add) await netlink.replaceRoute(route);
      for (const route of remove) await netlink.deleteRoute(route);
      return [
        ...add.map((route) => `route ${route.type} ${route.destination}`),
        ...remove.map((route) => `no route ${route.type} ${route.destination}`),
      ];
    });
  }

  /** The guard comes first: from here on nothing that belongs to the cluster can leave the host. */
  async function ensure(signal?: AbortSignal): Promise<string[]> {
    await ensureRecord(signal);
    return [
      ...(await ensureGuard(signal)),
      ...(await ensureRoutes()),
      ...(await ensureForwarding(signal)),
      ...(await sysctls.ensure(
        families.map(({ family }) => family),
        signal,
      )),
      ...(await bridgeGuard.ensure(signal)),
      ...((await trustedSources?.ensure()) ?? []),
    ];
  }

  async function removeLinks(netlink: Rtnetlink, record: HostRecord | undefined): Promise<void> {
    const links = await netlink.listLinks();
    const isOurs = ({ name, kind, alias }: (typeof links)[number]) =>
      (kind === 'veth' && parseHostVethAlias(alias)?.network === network) ||
      (name === bridge && kind === 'bridge' && (alias === BRIDGE_ALIAS || record?.bridgeAddresses === null));
    await runAll(
      'remove links',
      links.filter(isOurs).map((link) => () => netlink.deleteLink(link.index).catch(ignore('ENODEV'))),
    );
    // Of networks that configurations of the host describe.
    if (record?.bridges) await removeIdleBridges(netlink, record.bridges);
    if (record?.bridgeAddresses) await removeGateways(netlink, record.bridgeAddresses);
  }

  /** On a bridge that is not ours: the pods' gateway addresses that it did not have before. */
  async function removeGateways(netlink: Rtnetlink, before: readonly string[]): Promise<void> {
    const linkIndex = (await netlink.getLink(bridge))?.index;
    const added = ((await bridgeAddresses(netlink)) ?? []).filter(
      (address) =>
        !before.includes(address) &&
        clusterCidrs.some((cidr) => prefixContains(parsePrefix(cidr), parsePrefix(address))),
    );
    if (linkIndex !== undefined)
      for (const address of added) await netlink.deleteAddress({ linkIndex, address }).catch(ignore('EADDRNOTAVAIL'));
  }

  async function removeRoutes(netlink: Rtnetlink): Promise<void> {
    const own = await netlink.listRoutes({ protocol: ROUTE_PROTOCOL.node });
    await runAll(
      'remove routes',
      own.map((route) => () => netlink.deleteRoute(route).catch(ignore('ESRCH'))),
    );
  }

  return {
    ensure,
    sysctls,

    async run(signal) {
      let wake = () => {};
      const following =
        systemBus !== undefined &&
        followFirewalld({ busAddress: systemBus, onChange: () => wake() }, { clock }, signal);
      while (!signal.aborted) {
        // From here on: a change during the look counts too.
        const changed = new AbortController();
        wake = () => changed.abort();
        deps.heartbeat?.();
        try {
          const changes = await ensure(signal);
          if (changes.length > 0) log.info({ changes }, 'node network brought in order');
        } catch (error) {
          if (signal.aborted) break;
          log.error({ err: error }, 'node network could not be brought in order; trying again');
        }
        await clock.sleep(LEAST_PAUSE_MS, signal).catch(() => {});
        await clock.sleep(RESYNC_MS - LEAST_PAUSE_MS, AbortSignal.any([signal, changed.signal])).catch(() => {});
      }
      await following;
    },

    async remove() {
      const record = file.read();
      await runAll('remove the node network', [
        () => withNetlink((netlink) => removeLinks(netlink, record)),
        () => withNetlink(removeRoutes),
        ...families.map(({ iptables }) => async () => {
          const saved = (await iptables.save('filter')).get('filter');
          await iptables.restore(buildForwardRemoval(saved));
        }),
        () => removeHostPorts(network, { run, hostNetns: netns }),
        () => trustedSources?.remove(),
        () => sysctls.restore(),
        () => bridgeGuard.remove(),
        // The guard goes last: until then nothing of the cluster leaks out.
        () => nft.apply(renderTableRemoval(GUARD_TABLE)),
        () => (record ? removeEmptyTables(nft, record.tables) : undefined),
      ]);
      file.remove();
      return { modulesLeft: record?.modules ?? [] };
    },
  };
}

const canonicalCidr = (cidr: string) => formatPrefix(networkOf(parsePrefix(cidr)));

function ignore(code: string): (error: unknown) => void {
  return (error) => {
    if (!isNetlinkError(error, code)) throw error;
  };
}
