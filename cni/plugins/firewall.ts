/**
 * Lets a container's traffic through a firewall that drops what is forwarded (Docker's, firewalld's), and keeps bridges apart. Chained
 * behind the interface plugin.
 *
 * Backends as the reference plugin's: `firewalld` when it runs (addresses become sources of a zone), else `iptables`. An `ingressPolicy` is
 * always written by iptables. DEL looks at both, by what the ADD noted or its result says.
 */
import { runAll } from '../../src/runtime/run-all.ts';
import type { FilterRules } from '../firewall/filter-rules.ts';
import type { Firewalld } from '../firewall/firewalld.ts';
import type { IngressPolicy } from '../firewall/iptables-rules.ts';
import type { FirewallRecords } from '../firewall/records.ts';
import { type AttachmentKey, CNI_ERROR, CniError, type CniResult, type Plugin } from '../types.ts';
import { broken } from './failure.ts';

export interface FirewallConfig {
  /** The network's name. */
  network: string;
  /** undefined: firewalld when it runs. */
  backend: 'iptables' | 'firewalld' | undefined;
  adminChain: string;
  zone: string;
  policy: IngressPolicy;
  /** Of the ADD's result, for a DEL whose note is missing. */
  addresses: readonly string[];
}

export interface FirewallDependencies {
  filter: FilterRules;
  firewalld: Firewalld;
  records: FirewallRecords;
}

export function createFirewall({ filter, firewalld, records }: FirewallDependencies): Plugin<FirewallConfig> {
  const usesFirewalld = async ({ backend }: FirewallConfig) =>
    backend === 'firewalld' || (backend === undefined && (await firewalld.isRunning()));

  const isolates = ({ policy }: FirewallConfig) => policy !== 'open';

  /** Addresses by iptables unless firewalld has them; the policy by iptables anyway. */
  async function wishOf(config: FirewallConfig, result: CniResult, byFirewalld: boolean) {
    const bridge = isolates(config) ? bridgeOf(config, result) : undefined;
    return {
      addresses: byFirewalld ? [] : hostAddresses(result),
      families: hostAddresses(result),
      adminChain: config.adminChain,
      policy: config.policy,
      bridge,
    };
  }

  async function release(config: FirewallConfig, key: AttachmentKey): Promise<void> {
    const record = records.read(config.network, key);
    const addresses = record?.addresses ?? config.addresses;
    const { zone, adminChain } = record ?? config;
    await runAll(`firewall rules of ${key.containerId}`, [
      () => filter.remove(addresses, adminChain),
      async () => {
        if (addresses.length > 0 && config.backend !== 'iptables' && (await firewalld.isRunning()))
          await firewalld.removeSources(zone, addresses);
      },
    ]);
    records.remove(config.network, key);
  }

  return {
    type: 'firewall',

    async add(config, request, previous) {
      if (!previous)
        throw new CniError(CNI_ERROR.invalidNetworkConfig, 'firewall: missing prevResult from earlier plugin');
      const addresses = hostAddresses(previous);
      const byFirewalld = await usesFirewalld(config);
      const wish = await wishOf(config, previous, byFirewalld);
      // Before the rules: whoever dies now leaves nothing that GC does not know.
      records.write(config.network, request, { addresses, zone: config.zone, adminChain: config.adminChain });
      try {
        if (byFirewalld) await firewalld.addSources(config.zone, addresses);
        if (!byFirewalld || isolates(config)) await filter.add(wish);
        return previous;
      } catch (error) {
        await release(config, request).catch(() => {});
        throw error;
      }
    },

    del: release,

    async check(config, _request, result) {
      const byFirewalld = await usesFirewalld(config);
      const missing = byFirewalld ? await firewalld.findMissing(config.zone, hostAddresses(result)) : [];
      if (missing.length > 0) throw broken(`firewall: ${missing.join(', ')} is not in firewalld's zone ${config.zone}`);
      if (!byFirewalld || isolates(config)) await filter.check(await wishOf(config, result, byFirewalld));
    },

    async gc(config, valid) {
      const keep = new Set(valid.map(({ containerId, ifname }) => `${containerId}:${ifname}`));
      const stale = records
        .list(config.network)
        .filter(({ containerId, ifname }) => !keep.has(`${containerId}:${ifname}`));
      await runAll(
        `firewall rules of network ${config.network}`,
        stale.map((key) => () => release({ ...config, addresses: [] }, key)),
      );
    },

    async status(config) {
      if (config.backend === 'firewalld' && !(await firewalld.isRunning()))
        throw new CniError(CNI_ERROR.notAvailable, 'firewall: backend firewalld: firewalld is not on the system bus');
    },
  };
}

/** All addresses, each as a subnet of its own. */
export function hostAddresses({ ips }: CniResult): string[] {
  return ips.map(({ address }) => `${address.split('/')[0]}/${address.includes(':') ? 128 : 32}`);
}

/** The first interface is the bridge, by the bridge plugin's custom. */
function bridgeOf({ policy }: FirewallConfig, { interfaces }: CniResult): string {
  const bridge = interfaces[0];
  if (bridge && bridge.sandbox === '' && bridge.name !== '') return bridge.name;
  throw new CniError(
    CNI_ERROR.invalidNetworkConfig,
    `firewall: ingressPolicy ${policy} needs the bridge plugin before this one`,
    {
      details: 'the first interface of its result is the bridge that the policy is about',
    },
  );
}
