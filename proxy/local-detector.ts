import type { IpFamily } from '../src/netfilter/tables.ts';
import { cidrOfFamily } from './state/addresses.ts';

/** How packets of this node's (or the cluster's) pods are told from others. */
export type LocalDetector =
  | { kind: 'none' }
  | { kind: 'cidr'; cidr: string }
  | { kind: 'bridge'; name: string }
  | { kind: 'prefix'; prefix: string };

export interface LocalDetectionOptions {
  detectLocalMode: 'ClusterCIDR' | 'NodeCIDR' | 'BridgeInterface' | 'InterfaceNamePrefix';
  /** One CIDR, or one of each family with a comma between. */
  clusterCIDR: string;
  detectLocal: { bridgeInterface: string; interfaceNamePrefix: string };
}

/** The detector of one family. Without a CIDR of the family there is none: then nothing is masqueraded for being from elsewhere. */
export function resolveLocalDetector(
  options: LocalDetectionOptions,
  family: IpFamily,
  nodePodCidrs: readonly string[],
): LocalDetector {
  if (options.detectLocalMode === 'BridgeInterface')
    return { kind: 'bridge', name: options.detectLocal.bridgeInterface };
  if (options.detectLocalMode === 'InterfaceNamePrefix')
    return { kind: 'prefix', prefix: options.detectLocal.interfaceNamePrefix };
  const cidrs = options.detectLocalMode === 'NodeCIDR' ? nodePodCidrs : options.clusterCIDR.split(',');
  const cidr = cidrs.map((one) => cidrOfFamily(one, family)).find((one) => one !== undefined);
  return cidr ? { kind: 'cidr', cidr } : { kind: 'none' };
}

/** The iptables match for "from a local pod", or for its contrary; undefined where there is no detector. */
export function matchLocal(detector: LocalDetector, isLocal: boolean): string | undefined {
  const not = isLocal ? '' : '! ';
  switch (detector.kind) {
    case 'none':
      return undefined;
    case 'cidr':
      return `${not}-s ${detector.cidr}`;
    case 'bridge':
      return `${not}-i ${detector.name}`;
    case 'prefix':
      return `${not}-i ${detector.prefix}+`;
  }
}
