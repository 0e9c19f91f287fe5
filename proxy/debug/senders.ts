import ipaddr from 'ipaddr.js';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { Packet } from '../trace/packet.ts';

/** Who may send to a service, as far as rules tell senders apart. */
export interface Sender extends Pick<Packet, 'source' | 'inInterface'> {
  from: 'pod' | 'node' | 'outside';
}

/** One of each kind; no pod where nothing tells pods from strangers. Addresses of strangers are of the documentation's blocks. */
export function sendersOf(family: IpFamily, { localDetector, nodeIps }: NodeRenderOptions): Sender[] {
  const stranger = family === 'IPv4' ? '203.0.113.1' : '2001:db8:ffff::1';
  const senders: Sender[] = [
    { from: 'node', source: nodeIps[0] ?? (family === 'IPv4' ? '127.0.0.1' : '::1') },
    { from: 'outside', source: stranger, inInterface: 'outside' },
  ];
  switch (localDetector.kind) {
    case 'cidr':
      senders.unshift({ from: 'pod', source: lastAddress(localDetector.cidr), inInterface: 'pod' });
      break;
    case 'bridge':
      senders.unshift({ from: 'pod', source: stranger, inInterface: localDetector.name });
      break;
    case 'prefix':
      senders.unshift({ from: 'pod', source: stranger, inInterface: `${localDetector.prefix}0` });
      break;
  }
  return senders;
}

/** The last but one of a block: seldom anybody's, so that no pod is taken for one that reaches itself. */
function lastAddress(cidr: string): string {
  const [network, bits] = ipaddr.parseCIDR(cidr);
  const bytes = network.toByteArray();
  for (let bit = bits; bit < bytes.length * 8 - 1; bit++) bytes[bit >> 3]! |= 0x80 >> (bit & 7);
  bytes[bytes.length - 1]! &= 0xfe;
  return ipaddr.fromByteArray(bytes).toString();
}
