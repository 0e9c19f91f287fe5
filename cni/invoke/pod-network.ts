import { run } from '../../src/linux/exec.ts';
import { parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { createConntrack } from '../../src/netfilter/ctnetlink.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { createHostLocal, DEFAULT_DATA_DIR, type HostLocalConfig } from '../ipam/host-local.ts';
import { type BridgeConfig, createBridgePlugin } from '../plugins/bridge.ts';
import { loopback } from '../plugins/loopback.ts';
import { createPortmap, type PortMapping } from '../plugins/portmap.ts';
import { type AttachRequest, CNI_ERROR, CniError, type CniResult, type DetachRequest } from '../types.ts';

export interface PodNetworkOptions {
  /** Names the lease directory and the links. Default `berth`. */
  networkName?: string;
  /** Default `cni0`. */
  bridge?: string;
  /** The node's pod CIDR, as soon as it is known (`spec.podCIDR`, or fixed by configuration). */
  podCidr: () => string | undefined;
  /** All pods of the cluster; a podCIDR outside of it is a configuration error. */
  clusterCidr?: string;
  /** Bytes; default the kernel's 1500. */
  mtu?: number;
  /** Default /var/lib/cni/networks. */
  dataDir?: string;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
}

/** One sandbox to be connected; the agent's PodAttachment, as far as the network reads it. */
export interface PodSandbox {
  sandboxId: string;
  netnsPath: string;
  namespace: string;
  name: string;
  uid: string;
  hostPorts: readonly PortMapping[];
}

/** Implements the agent's `PodNetwork` port with our own plugins, in process. */
export interface BridgePodNetwork {
  status(): { ready: true } | { ready: false; reason: string; message: string };
  attach(sandbox: PodSandbox, signal: AbortSignal): Promise<{ ips: string[] }>;
  detach(sandbox: Omit<PodSandbox, 'netnsPath'> & { netnsPath?: string }): Promise<void>;
  ips(sandboxId: string): string[] | undefined;
  collect(liveSandboxIds: Set<string>): Promise<void>;
  close(): void;
}

/** Upstream's name of a pod's interface. */
const POD_INTERFACE = 'eth0';

/**
 * `collect` spares what was attached this recently: the caller listed its sandboxes before, so a new one may be missing in the list.
 */
const COLLECT_GRACE_MS = 60_000;

/**
 * Pods on a bridge of this node. What is attached is read back from the kernel and the lease files, so a restart
 * of the process, or its death at any step, needs no memory: `attach` repairs, `detach` and `collect` release.
 */
export function createPodNetwork(options: PodNetworkOptions, deps: { log: Logger; clock: Clock }): BridgePodNetwork {
  const network = options.networkName ?? 'berth';
  const dataDir = options.dataDir ?? DEFAULT_DATA_DIR;
  const { log, clock } = deps;
  const host = openRtnetlink(options.hostNetns);
  const ipam = createHostLocal(clock);
  const bridgeName = options.bridge ?? 'cni0';
  const netns = options.hostNetns;
  const bridge = createBridgePlugin({ ipam, host, hostNetns: netns });
  const conntrack = createConntrack({ netns });
  const portmap = createPortmap({
    nft: createNft({ run, netns }),
    allowLocalhost: () => void writeSysctl(`net/ipv4/conf/${bridgeName}/route_localnet`, '1', { netns }),
    async forgetUdpFlows(hostPort) {
      await conntrack.deleteUdpFlows('IPv4', ({ destinationPort }) => destinationPort === hostPort);
    },
  });
  /** One operation per sandbox at a time. */
  const underWay = new Map<string, Promise<unknown>>();
  const attachedAtMs = new Map<string, number>();

  function config(): BridgeConfig<HostLocalConfig> {
    const podCidr = options.podCidr();
    return {
      network,
      bridge: bridgeName,
      isGateway: true,
      isDefaultGateway: true,
      forceAddress: false,
      hairpinMode: true,
      mtu: options.mtu,
      ipam: { network, dataDir, ranges: podCidr === undefined ? [] : [[{ subnet: podCidr }]], routes: [] },
    };
  }

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

  function requestOf(sandbox: Omit<PodSandbox, 'netnsPath'>) {
    return {
      containerId: sandbox.sandboxId,
      ifname: POD_INTERFACE,
      args: {
        IgnoreUnknown: '1',
        K8S_POD_NAMESPACE: sandbox.namespace,
        K8S_POD_NAME: sandbox.name,
        K8S_POD_INFRA_CONTAINER_ID: sandbox.sandboxId,
        K8S_POD_UID: sandbox.uid,
      },
    };
  }

  function heldIps(sandboxId: string): string[] {
    return ipam.heldBy({ network, dataDir }, sandboxId).map((lease) => lease.ip);
  }

  /** An earlier attachment that is whole (this process or one before it made it and did not get to say so) is taken as it is. */
  async function adopt(request: AttachRequest, held: string[], mappings: readonly PortMapping[]): Promise<boolean> {
    if (held.length === 0) return false;
    const prefixLength = parsePrefix(options.podCidr()!).prefixLength;
    const expected: CniResult = {
      interfaces: [],
      ips: held.map((ip) => ({ address: `${ip}/${prefixLength}` })),
      routes: [{ dst: '0.0.0.0/0' }],
    };
    try {
      await bridge.check(config(), request, expected);
      if (mappings.length > 0) await portmap.check({ mappings }, request, expected);
      return true;
    } catch (error) {
      log.info({ sandbox: request.containerId, err: error }, 'an earlier network set-up is incomplete: doing it again');
      return false;
    }
  }

  async function attach(sandbox: PodSandbox, signal: AbortSignal): Promise<{ ips: string[] }> {
    const state = podNetwork.status();
    if (!state.ready) throw new CniError(CNI_ERROR.notAvailable, state.message);
    const startedMs = clock.monotonicMs();
    const request = { ...requestOf(sandbox), netns: sandbox.netnsPath };
    await loopback.add({}, request);
    if (await adopt(request, heldIps(sandbox.sandboxId), sandbox.hostPorts)) return { ips: heldIps(sandbox.sandboxId) };
    signal.throwIfAborted();
    const result = await addFresh(request);
    try {
      signal.throwIfAborted();
      if (sandbox.hostPorts.length > 0) await portmap.add({ mappings: sandbox.hostPorts }, request, result);
      signal.throwIfAborted();
    } catch (error) {
      await release(request, sandbox.hostPorts);
      throw error;
    }
    attachedAtMs.set(sandbox.sandboxId, clock.monotonicMs());
    const ips = result.ips.map(({ address }) => address.split('/')[0]!);
    const pod = `${sandbox.namespace}/${sandbox.name}`;
    log.debug({ pod, ips, durationMs: Math.round(clock.monotonicMs() - startedMs) }, 'pod attached to the network');
    return { ips };
  }

  /** DEL of the chain, in reverse order. Host ports go first: their rules must not lead to the address's next owner. */
  async function release(request: DetachRequest, mappings: readonly PortMapping[]): Promise<void> {
    await runAll(`detach ${request.containerId}`, [
      () => (mappings.length > 0 ? portmap.del({ mappings }, request) : undefined),
      () => bridge.del(config(), request),
    ]);
  }

  /** ADD; what half an earlier one left of this sandbox is removed first. */
  async function addFresh(request: AttachRequest): Promise<CniResult> {
    try {
      return await bridge.add(config(), request);
    } catch (error) {
      if (!(error instanceof CniError) || error.code !== CNI_ERROR.alreadyAttached) throw error;
      await bridge.del(config(), request);
      return bridge.add(config(), request);
    }
  }

  const podNetwork: BridgePodNetwork = {
    status() {
      const podCidr = options.podCidr();
      if (podCidr === undefined)
        return notReady('cni config uninitialized: the node has no pod CIDR (spec.podCIDR) yet');
      const { clusterCidr } = options;
      if (clusterCidr !== undefined && !prefixContains(parsePrefix(clusterCidr), parsePrefix(podCidr)))
        return notReady(`the node's pod CIDR ${podCidr} is not inside the cluster CIDR ${clusterCidr}`);
      return { ready: true };
    },

    attach: (sandbox, signal) => alone(sandbox.sandboxId, () => attach(sandbox, signal)),

    detach: (sandbox) =>
      alone(sandbox.sandboxId, async () => {
        await release({ ...requestOf(sandbox), netns: sandbox.netnsPath }, sandbox.hostPorts);
        attachedAtMs.delete(sandbox.sandboxId);
      }),

    ips(sandboxId) {
      const held = heldIps(sandboxId);
      return held.length > 0 ? held : undefined;
    },

    async collect(liveSandboxIds) {
      const nowMs = clock.monotonicMs();
      for (const [id, sinceMs] of attachedAtMs)
        if (!liveSandboxIds.has(id) && nowMs - sinceMs > COLLECT_GRACE_MS) attachedAtMs.delete(id);
      const valid = new Set([...liveSandboxIds, ...underWay.keys(), ...attachedAtMs.keys()]);
      const attachments = [...valid].map((containerId) => ({ containerId, ifname: POD_INTERFACE }));
      await runAll('collect network attachments', [
        () => portmap.gc({ mappings: [] }, attachments),
        () => bridge.gc(config(), attachments),
      ]);
    },

    close: () => host.close(),
  };
  return podNetwork;
}

function notReady(message: string): { ready: false; reason: string; message: string } {
  return { ready: false, reason: 'NetworkPluginNotReady', message };
}
