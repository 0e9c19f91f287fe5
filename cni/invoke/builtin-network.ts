import { BUILTIN_KEY, type NetworkConfiguration, parseConfigurationList } from './network-configuration.ts';

/** The built-in network's name: of its directory of leases, and in the aliases of its links. */
export const BUILTIN_NETWORK = 'berth';

export interface BuiltinNetworkOptions {
  name: string;
  bridge: string;
  /** Where host-local keeps its leases. */
  dataDir: string;
  /** The node's; the pod gets an address of each. */
  podCidrs: readonly string[];
  /** Bytes; undefined: the kernel's 1500. */
  mtu: number | undefined;
  /** Host ports take nothing that goes there: in mode ipvs Services' addresses are the node's own. */
  serviceCidrs?: readonly string[];
  /** The proxy's mode is ipvs. */
  hasIpvs?: boolean;
}

/** Chained behind the bridge, by the capability that they serve. */
const CHAINED: Record<string, { type: string; [key: string]: unknown }> = {
  portMappings: { type: 'portmap' },
  bandwidth: { type: 'bandwidth' },
};

/**
 * The network that Berth brings for nodes without a configuration: a bridge, with addresses of the node's own ranges. It is a conflist as
 * any other, carried out by the same engine. Pure.
 * @param needs the chained plugins that are called, by capability: a pod without host ports spares the call of portmap
 */
export function buildBuiltinNetwork(
  options: BuiltinNetworkOptions,
  needs: readonly string[] = Object.keys(CHAINED),
): NetworkConfiguration {
  const { name, bridge, dataDir, podCidrs, mtu } = options;
  const ipam = { type: 'host-local', dataDir, ranges: podCidrs.map((subnet) => [{ subnet }]) };
  const chained = needs.flatMap((capability) => {
    const plugin = CHAINED[capability];
    const extra = plugin?.type === 'portmap' ? hostPortKeys(options) : {};
    return plugin ? [{ ...plugin, ...extra, capabilities: { [capability]: true } }] : [];
  });
  return parseConfigurationList(
    JSON.stringify({
      cniVersion: '1.1.0',
      name,
      [BUILTIN_KEY]: true,
      plugins: [
        {
          type: 'bridge',
          bridge,
          isGateway: true,
          isDefaultGateway: true,
          hairpinMode: true,
          ...(mtu && { mtu }),
          ipam,
        },
        ...chained,
      ],
    }),
  );
}

/**
 * nftables: the kernel is told over a socket; iptables would be two processes a pod. But with IPVS, Services' addresses are the node's own,
 * those from outside of the service CIDRs too, and only the proxy's rules of iptables, which end before ours, know them.
 */
function hostPortKeys({ serviceCidrs: cidrs = [], hasIpvs }: BuiltinNetworkOptions): object {
  if (hasIpvs) return { backend: 'iptables' };
  const notTo = (family: 'ip' | 'ip6') =>
    cidrs.filter((cidr) => cidr.includes(':') === (family === 'ip6')).flatMap((cidr) => [family, 'daddr', '!=', cidr]);
  return { backend: 'nftables', conditionsV4: notTo('ip'), conditionsV6: notTo('ip6') };
}
