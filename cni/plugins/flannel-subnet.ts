import { parsePrefix } from '../../src/linux/ip.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** What the flannel daemon (ours or flanneld) says of its node, in `subnet.env`. */
export interface FlannelSubnet {
  /** All pods: usually one range of a family. */
  networks: string[];
  /** The node's, one of each family, as they are written: the first address with the length. */
  subnets: string[];
  mtu: number;
  /** The daemon masquerades, so the plugin need not. */
  ipMasq: boolean;
}

/** Pure. @throws CniError 5 naming the file and what is missing or wrong in it. */
export function parseSubnetFile(text: string, file: string): FlannelSubnet {
  const lines = text.split('\n').map((line) => line.trim());
  const values = new Map(
    lines
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  const wrong = (what: string) => new CniError(CNI_ERROR.ioFailure, `${file} ${what}`);
  const ranges = (...keys: string[]) =>
    keys.flatMap((key) =>
      (values.get(key) ?? '')
        .split(',')
        .filter(Boolean)
        .map((cidr) => {
          try {
            parsePrefix(cidr);
          } catch (cause) {
            throw wrong(`has ${key}=${values.get(key)}: ${(cause as Error).message}`);
          }
          return cidr;
        }),
    );
  const networks = ranges('FLANNEL_NETWORK', 'FLANNEL_IPV6_NETWORK');
  const subnets = ranges('FLANNEL_SUBNET', 'FLANNEL_IPV6_SUBNET');
  const [mtu, ipMasq] = [values.get('FLANNEL_MTU'), values.get('FLANNEL_IPMASQ')];
  const missing = [
    ...(networks.length === 0 ? ['FLANNEL_NETWORK', 'FLANNEL_IPV6_NETWORK'] : []),
    ...(subnets.length === 0 ? ['FLANNEL_SUBNET', 'FLANNEL_IPV6_SUBNET'] : []),
    ...(mtu === undefined ? ['FLANNEL_MTU'] : []),
    ...(ipMasq === undefined ? ['FLANNEL_IPMASQ'] : []),
  ];
  if (missing.length > 0) throw wrong(`is missing ${missing.join(', ')}`);
  if (!/^\d+$/.test(mtu!)) throw wrong(`has FLANNEL_MTU=${mtu}: not a number`);
  return { networks, subnets, mtu: Number(mtu), ipMasq: ipMasq === 'true' };
}
