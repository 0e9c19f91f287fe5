import { run as runProgram } from '../../src/linux/exec.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { SYSTEM_BUS } from '../firewall/firewalld.ts';
import { followFirewalld } from '../firewall/follow-firewalld.ts';
import { openProcessLeases } from '../ipam/dhcp/process-leases.ts';
import { DEFAULT_DATA_DIR } from '../ipam/host-local.ts';
import { loopback } from '../plugins/loopback.ts';
import { ownPlugins } from '../programs/all.ts';
import { CniError } from '../types.ts';
import { checkContainerNetns, usableNetns } from '../wire/container-netns.ts';
import { createPluginCaller } from '../wire/plugin-caller.ts';
import { type CachedAttachment, DEFAULT_CACHE_DIR, openAttachmentCache } from './attachment-cache.ts';
import { BUILTIN_NETWORK } from './builtin-network.ts';
import { type CapabilitySource, computeCapabilityArgs } from './capability-args.ts';
import { createChain } from './chain.ts';
import { DEFAULT_CONF_DIR } from './configuration-directory.ts';
import { attachmentOfLeases, readEarlierLeases } from './earlier-leases.ts';
import { explain } from './explain.ts';
import { createNetworkMetrics } from './metrics.ts';
import { createNetworkInUse, type NetworkInUseOptions } from './network-in-use.ts';
import { createNetworkReadiness } from './network-readiness.ts';
import { createPodAttachments, ipsOf, POD_INTERFACE } from './pod-attachments.ts';
import { argsOf, type CniPodNetwork, type EndingSandbox, type PodSandbox } from './pod-sandbox.ts';
import { createRuleKeeper } from './rule-keeper.ts';

export interface PodNetworkOptions
  extends Pick<NetworkInUseOptions, 'podCidrs'>,
    Partial<Omit<NetworkInUseOptions, 'podCidrs'>> {
  /** Where programs of plugins are. Default /opt/cni/bin. */
  binDirs?: readonly string[];
  /** Attachments are kept in `results` below it. Default /var/lib/cni. */
  cacheDir?: string;
  /** Of one call of a program. Default 220 s. */
  pluginTimeoutMs?: number;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
  /** The bus that the host's firewalld is on. Default: the machine's, unless the namespace is another one. */
  systemBus?: string;
  /** Where leases of DHCP servers are kept for the next process. Default /run/cni/dhcp-berth. */
  dhcpStateDir?: string;
}

export interface PodNetworkDependencies {
  log: Logger;
  clock: Clock;
  registry?: Registry;
  /** A turn of the loop. */
  beat?(): void;
  /** An operator should know: which configuration is in use, and what is wrong with one. */
  tell?(type: 'Normal' | 'Warning', reason: string, message: string): void;
}

export const DEFAULT_BIN_DIR = '/opt/cni/bin';

/**
 * `collect` spares what was attached this recently: the caller listed its sandboxes before, so a new one may be missing in the list.
 */
const COLLECT_GRACE_MS = 60_000;
/** Plugins in this process are asked at each `collect`; programs of others cost a process each. */
const FOREIGN_COLLECT_PERIOD_MS = 600_000;

/**
 *     /etc/cni/net.d ──► ConfigurationSource ─┐
 *     podCIDRs, MTU ───► built-in network ────┴─► NetworkInUse ──► Chain ──► PluginCaller ──► ours, or a program of CNI_PATH
 *                                                                    ▲
 *     agent: attach, detach, collect ──► PodAttachments ◄──► AttachmentCache (/var/lib/cni/results)
 *
 * What is attached is read back from the cache, so a restart of the process, or its death at any step, needs no memory: `attach`
 * repairs, `detach` and `collect` release, by the configuration of then.
 */
export function createPodNetwork(options: PodNetworkOptions, deps: PodNetworkDependencies): CniPodNetwork {
  const { log, clock } = deps;
  const { binDirs = [DEFAULT_BIN_DIR], hostNetns, podCidrs } = options;
  const { networkName = BUILTIN_NETWORK, dataDir = DEFAULT_DATA_DIR } = options;
  const run: typeof runProgram = (program, args, how) =>
    runProgram(program, args, hostNetns === undefined ? how : { netns: hostNetns, ...how });
  const metrics = createNetworkMetrics(deps.registry);
  const dhcpLeases = openProcessLeases({ stateDir: options.dhcpStateDir }, { clock, log });
  const own = ownPlugins({
    run: runProgram,
    sleep: (ms) => clock.sleep(ms),
    monotonicMs: () => clock.monotonicMs(),
    hostNetns,
    systemBus: options.systemBus,
    dhcpLeases,
  });
  const timeoutMs = options.pluginTimeoutMs;
  const caller = createPluginCaller({ own: (type) => own.get(type), path: binDirs, run, hostNetns, timeoutMs });
  const chain = createChain(caller);
  const readiness = createNetworkReadiness({ path: binDirs }, { caller, chain, run });
  const inUse = createNetworkInUse(
    {
      mode: 'builtin',
      confDir: DEFAULT_CONF_DIR,
      bridge: 'cni0',
      clusterCidrs: [],
      serviceCidrs: [],
      mtu: () => undefined,
      ...options,
      networkName,
      dataDir,
    },
    { ...deps, caller, readiness, metrics },
  );
  const cache = openAttachmentCache(options.cacheDir ?? DEFAULT_CACHE_DIR);
  for (const problem of cache.problems) log.warn({ problem }, 'a kept attachment cannot be read');
  /** One operation per sandbox at a time. */
  const underWay = new Map<string, Promise<unknown>>();
  const attachedAtMs = new Map<string, number>();
  /** Addresses of those that only files of leases tell of. */
  const leases = readEarlierLeases(dataDir, networkName, POD_INTERFACE);
  for (const { containerId } of cache.list()) leases.delete(containerId);
  let collectedMs: number | undefined;

  function alone<T>(sandboxId: string, work: () => Promise<T>): Promise<T> {
    const before = underWay.get(sandboxId) ?? Promise.resolve();
    const result = before.then(work, work);
    underWay.set(sandboxId, result);
    const forget = () => {
      if (underWay.get(sandboxId) === result) underWay.delete(sandboxId);
    };
    result.then(forget, forget);
    return result;
  }

  function earlierOf(containerId: string): CachedAttachment[] {
    const ips = leases.get(containerId);
    const network = ips && inUse.builtin();
    return network ? [attachmentOfLeases(containerId, { ips, ifname: POD_INTERFACE }, network, podCidrs())] : [];
  }

  const keeper = createRuleKeeper({ cache, caller, alone, builtin: inUse.builtin, hostNetns, log, clock });
  /** The machine's firewalld knows nothing of other namespaces. */
  const systemBus = options.systemBus ?? (hostNetns === undefined ? SYSTEM_BUS : undefined);

  const attachments = createPodAttachments({
    chain,
    cache,
    log,
    current: inUse.current,
    all: () => [...[...leases.keys()].flatMap(earlierOf), ...cache.list()],
  });
  const knownOf = (sandboxId: string) => [...earlierOf(sandboxId), ...cache.of(sandboxId)];

  const sourceOf = ({ hostPorts, annotations }: Omit<PodSandbox, 'netnsPath'>): CapabilitySource => ({
    hostPorts,
    ...(annotations && { annotations }),
    podCidrs: podCidrs(),
  });

  async function attach(sandbox: PodSandbox, signal: AbortSignal): Promise<{ ips: string[] }> {
    const wrong = inUse.problem();
    if (wrong !== undefined) throw new Error(`the pod network is not ready: ${wrong}`);
    const startedMs = clock.monotonicMs();
    const { sandboxId, netnsPath: netns } = sandbox;
    checkContainerNetns(netns, hostNetns);
    const args = argsOf(sandbox);
    const source = sourceOf(sandbox);
    // There is one: nothing is wrong.
    const network = inUse.forPod(source)!;
    const capabilityArgs = computeCapabilityArgs(network, source);
    await loopback.add({}, { containerId: sandboxId, ifname: 'lo', netns, args });
    const request = { sandboxId, netns, args, capabilityArgs, known: knownOf(sandboxId) };
    const { ips } = await attachments.add(network, request, signal);
    leases.delete(sandboxId);
    attachedAtMs.set(sandboxId, clock.monotonicMs());
    const pod = `${sandbox.namespace}/${sandbox.name}`;
    log.debug({ pod, ips, durationMs: Math.round(clock.monotonicMs() - startedMs) }, 'pod attached to the network');
    return { ips };
  }

  async function detach(sandbox: EndingSandbox): Promise<void> {
    const { sandboxId } = sandbox;
    const known = knownOf(sandboxId);
    const all = known.length > 0 ? known : unknownAttachment(sandbox);
    const wantsNetns = all.some((attachment) => !attachments.isBuiltin(attachment));
    const netns = usableNetns(sandbox.netnsPath ?? (wantsNetns ? await sandbox.findNetns?.() : undefined), hostNetns);
    await runAll(
      `detach ${sandboxId}`,
      all.map((attachment) => () => attachments.remove(attachment, netns)),
    );
    leases.delete(sandboxId);
    attachedAtMs.delete(sandboxId);
  }

  /** No file tells of it: what is in use now may have attached it and not got to say so. */
  function unknownAttachment(sandbox: EndingSandbox): CachedAttachment[] {
    const network = inUse.current();
    if (!network) return [];
    return [
      {
        network: network.name,
        containerId: sandbox.sandboxId,
        ifname: POD_INTERFACE,
        netns: '',
        configuration: network.text,
        args: argsOf(sandbox),
        capabilityArgs: computeCapabilityArgs(network, { ...sourceOf(sandbox), annotations: {} }),
        result: undefined,
        isOurs: true,
        isOfEarlierBoot: false,
      },
    ];
  }

  /**
   * An attachment of another runtime is not this one's to judge while its namespace is there; when that is gone (a reboot) and the
   * network is the one in use, nobody else will release it. Older libcni does not say where the namespace is.
   */
  function isStale(attachment: CachedAttachment, valid: ReadonlySet<string>): boolean {
    if (valid.has(attachment.containerId)) return false;
    if (attachment.isOurs) return true;
    const isDead = attachment.isOfEarlierBoot || (attachment.netns !== '' && !usableNetns(attachment.netns, hostNetns));
    return isDead && attachment.network === inUse.current()?.name;
  }

  async function collect(liveSandboxIds: Set<string>): Promise<void> {
    const nowMs = clock.monotonicMs();
    const theirs = cache.refresh();
    for (const [id, sinceMs] of attachedAtMs)
      if (!liveSandboxIds.has(id) && nowMs - sinceMs > COLLECT_GRACE_MS) attachedAtMs.delete(id);
    const valid = new Set([...liveSandboxIds, ...underWay.keys(), ...attachedAtMs.keys()]);
    const stale = [...[...leases.keys()].flatMap(earlierOf), ...cache.list()].filter((one) => isStale(one, valid));
    if (stale.length > 0) log.info({ count: stale.length }, 'releasing network attachments of sandboxes that are gone');
    await runAll('collect network attachments', [
      ...stale.map((one) => () => alone(one.containerId, () => release(one))),
      () => collectLeftovers(valid, nowMs, theirs),
    ]);
  }

  async function release(attachment: CachedAttachment): Promise<void> {
    await attachments.remove(attachment, undefined);
    leases.delete(attachment.containerId);
  }

  /**
   * What no cache tells of: plugins know their own. Another runtime that attaches to this network (it uses the same directory of
   * configurations) writes its file after the ADD: while it does, what it is at would be taken for left over.
   */
  async function collectLeftovers(
    valid: ReadonlySet<string>,
    nowMs: number,
    theirs: readonly CachedAttachment[],
  ): Promise<void> {
    const network = inUse.current();
    if (!network || inUse.problem() !== undefined || theirs.some((one) => one.network === network.name)) return;
    const isDue = collectedMs === undefined || nowMs - collectedMs >= FOREIGN_COLLECT_PERIOD_MS;
    if (inUse.isForeign(network) && !isDue) return;
    collectedMs = nowMs;
    const others = cache.list().filter((one) => !valid.has(one.containerId) && one.network === network.name);
    await chain.gc(network, [
      ...[...valid].map((containerId) => ({ containerId, ifname: POD_INTERFACE })),
      ...others.map(({ containerId, ifname }) => ({ containerId, ifname })),
    ]);
  }

  return {
    status() {
      const wrong = inUse.problem();
      return wrong === undefined ? { ready: true } : { ready: false, reason: 'NetworkPluginNotReady', message: wrong };
    },
    attach: (sandbox, signal) =>
      alone(sandbox.sandboxId, () =>
        metrics
          .operation('set_up_pod', () => attach(sandbox, signal))
          .catch((error) => {
            throw error instanceof CniError ? new CniError(error.code, explain(error), { cause: error }) : error;
          }),
      ),
    detach: (sandbox) => alone(sandbox.sandboxId, () => metrics.operation('tear_down_pod', () => detach(sandbox))),
    ips(sandboxId) {
      const ips = knownOf(sandboxId).flatMap(ipsOf);
      return ips.length > 0 ? ips : undefined;
    },
    collect: (liveSandboxIds) => metrics.operation('collect', () => collect(liveSandboxIds)),
    onChange: inUse.onChange,
    async run(signal) {
      const busAddress = systemBus;
      await Promise.all([
        inUse.run(signal),
        keeper.run(signal),
        busAddress !== undefined && followFirewalld({ busAddress, onChange: keeper.wake }, { clock }, signal),
      ]);
    },
    close() {
      caller.close();
      void dhcpLeases.close();
    },
  };
}
