/**
 * Host ports: connections to a port of the node go to a port of the pod. Chained behind the interface plugin.
 *
 * Two backends write the same into the kernel in the reference plugin's own words, so that each finds what the other left
 * (`cni/portmap`): `iptables`, the default where the node has it, and `nftables`, over netlink. DEL and GC look at both: which one
 * it was may have changed since.
 */

import { ExecError } from '../../src/linux/exec.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { LockedError } from '../../src/netfilter/xtables-lock.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { PortmapBackend } from '../portmap/backend.ts';
import { mappingsOf, type PodAddress, type PortmapConfig, podAddresses } from '../portmap/mapping.ts';
import { type AttachRequest, CNI_ERROR, CniError, type Plugin } from '../types.ts';
import { asCniError, broken } from './failure.ts';

export interface PortmapDependencies {
  iptables: PortmapBackend;
  nftables: PortmapBackend;
  /** Whether the node has iptables, for a configuration that names no backend. */
  hasIptables(): boolean;
  /** Makes 127.0.0.1 usable as a source towards a pod: route_localnet of the link that leads there. */
  allowLocalhost(podAddress: string): Promise<void>;
  /** Makes the kernel forget UDP flows to these ports of the node: they go where they went, whatever the rules say, until they fall silent. */
  forgetUdpFlows(
    family: IpFamily,
    hostPorts: ReadonlySet<number>,
    isStale: (endpoint: string) => boolean,
  ): Promise<void>;
}

export function createPortmap(deps: PortmapDependencies): Plugin<PortmapConfig> {
  function backendOf({ backend }: PortmapConfig): PortmapBackend {
    const kind = backend ?? (deps.hasIptables() ? 'iptables' : 'nftables');
    if (kind === 'iptables' && !deps.hasIptables())
      throw new CniError(CNI_ERROR.invalidNetworkConfig, 'portmap: backend iptables: this node has no iptables', {
        details: 'install the package iptables, or configure "backend": "nftables"',
      });
    return deps[kind];
  }

  const remove = (network: string, containerId: string) =>
    runAll(`host ports of ${containerId}`, [
      () => deps.nftables.remove(network, containerId),
      () => deps.iptables.remove(network, containerId),
    ]);

  async function map(config: PortmapConfig, request: AttachRequest, addresses: readonly PodAddress[]): Promise<void> {
    const backend = backendOf(config);
    const used = addresses.filter(({ family }) => mappingsOf(config.mappings, family).length > 0);
    for (const { family, address } of used) if (family === 'IPv4' && config.snat) await deps.allowLocalhost(address);
    try {
      await addBy(backend, config, request.containerId, used);
      for (const { family, address } of used) await forgetFlows(config, family, (endpoint) => endpoint !== address);
    } catch (error) {
      // Of two families one may be done. What went wrong first is what counts.
      await remove(config.network, request.containerId).catch(() => {});
      throw explain(error);
    }
  }

  async function forgetFlows(
    { mappings }: PortmapConfig,
    family: IpFamily,
    isStale: (endpoint: string) => boolean,
  ): Promise<void> {
    const udp = mappingsOf(mappings, family).filter(({ protocol }) => protocol === 'udp');
    if (udp.length > 0) await deps.forgetUdpFlows(family, new Set(udp.map(({ hostPort }) => hostPort)), isStale);
  }

  /** iptables that is there and cannot be used (the legacy kind on a kernel without it) is none, unless it was asked for. */
  async function addBy(
    backend: PortmapBackend,
    config: PortmapConfig,
    containerId: string,
    used: readonly PodAddress[],
  ) {
    try {
      await backend.add(config, containerId, used);
    } catch (error) {
      if (config.backend !== undefined || !(error instanceof ExecError)) throw error;
      await deps.nftables.add(config, containerId, used).catch(() => Promise.reject(error));
    }
  }

  return {
    type: 'portmap',

    async add(config, request, previous) {
      if (!previous)
        throw new CniError(CNI_ERROR.invalidNetworkConfig, 'portmap: must be called as chained plugin', {
          details: 'it maps ports to the address in the prevResult of an interface plugin before it',
        });
      if (config.mappings.length === 0) return previous;
      const addresses = podAddresses(previous, request.ifname);
      if (addresses.length === 0)
        throw new CniError(CNI_ERROR.invalidNetworkConfig, 'portmap: the container has no IP address');
      await map(config, request, addresses);
      return previous;
    },

    async del(config, { containerId }) {
      await remove(config.network, containerId).catch((error) => Promise.reject(explain(error)));
      // The address may be another container's soon: who goes on sending would be heard there.
      const isGone = (endpoint: string) => config.addresses.includes(endpoint);
      if (config.addresses.length === 0) return;
      // Not a reason to keep the container: flows end by themselves, later.
      for (const family of ['IPv4', 'IPv6'] as const) await forgetFlows(config, family, isGone).catch(() => {});
    },

    async check(config, { containerId, ifname }, result) {
      if (config.mappings.length === 0) return;
      try {
        const addresses = podAddresses(result, ifname);
        const backend = backendOf(config);
        // What is configured may not be what could be used.
        const tolerated = config.backend === undefined ? deps.nftables : backend;
        await backend
          .check(config, containerId, addresses)
          .catch((error) => tolerated.check(config, containerId, addresses).catch(() => Promise.reject(error)));
      } catch (error) {
        throw error instanceof CniError ? error : broken(`portmap: ${(error as Error).message}`);
      }
    },

    async gc({ network }, valid) {
      const ids = new Set(valid.map(({ containerId }) => containerId));
      const keep = (containerId: string) => ids.has(containerId);
      await runAll(`host ports of network ${network}`, [
        () => deps.nftables.collect(network, keep),
        () => deps.iptables.collect(network, keep),
      ]);
    },

    async status(config) {
      backendOf(config);
    },
  };
}

/** A busy lock passes: the runtime is told to come again (R10). */
function explain(error: unknown): unknown {
  const first = error instanceof AggregateError ? error.errors.find((one) => one instanceof LockedError) : error;
  if (first instanceof LockedError)
    return new CniError(CNI_ERROR.tryAgainLater, 'portmap: iptables is busy', { details: first.message, cause: error });
  return asCniError(error);
}

export type { PortMapping, PortmapConfig } from '../portmap/mapping.ts';
