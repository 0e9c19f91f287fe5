import { networkOf, parsePrefix } from '../ip.ts';
import { bytes, LITTLE_ENDIAN, nested, text, u32 } from './attributes.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from './constants.ts';
import { handle, INGRESS_HANDLE, trafficHeader } from './qdiscs.ts';
import type { Rtnetlink } from './rtnetlink.ts';

/** Numbers of linux/rtnetlink.h, pkt_cls.h, tc_act/tc_mirred.h and if_ether.h. */
const RTM_NEWTFILTER = 44;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_U32_CLASSID = 1;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TCA_EGRESS_REDIR = 1;
const TC_ACT_STOLEN = 4;
const ETH_P_ALL = 0x0003;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

type Netlink = Pick<Rtnetlink, 'request'>;

/** One word of a packet, counted from its network header. */
interface Key {
  mask: Buffer;
  value: Buffer;
  offset: number;
}

/** All that comes in by a link (which has an ingress discipline) leaves by another one instead. */
export async function redirectIngress(netlink: Netlink, linkIndex: number, toIndex: number): Promise<void> {
  // struct tc_mirred: index, capabilities, action, references, bindings, what to do, the link.
  const mirred = Buffer.alloc(28);
  const put = (value: number, at: number) =>
    LITTLE_ENDIAN ? mirred.writeUInt32LE(value, at) : mirred.writeUInt32BE(value, at);
  put(TC_ACT_STOLEN, 8);
  put(TCA_EGRESS_REDIR, 20);
  put(toIndex, 24);
  const action = nested(1, [text(TCA_ACT_KIND, 'mirred'), nested(TCA_ACT_OPTIONS, [bytes(TCA_MIRRED_PARMS, mirred)])]);
  await addU32(netlink, { linkIndex, parent: INGRESS_HANDLE, priority: 1, protocol: ETH_P_ALL }, [
    u32(TCA_U32_CLASSID, handle(1, 1)),
    bytes(TCA_U32_SEL, selector([])),
    nested(TCA_U32_ACT, [action]),
  ]);
}

/** Packets from (to) a subnet belong to a class of the link's htb discipline. */
export async function classify(
  netlink: Netlink,
  linkIndex: number,
  { subnet, end, minor }: { subnet: string; end: 'source' | 'destination'; minor: number },
): Promise<void> {
  const { family } = parsePrefix(subnet);
  // Filters of two protocols cannot have one priority.
  const [priority, protocol] = family === 4 ? [16, ETH_P_IP] : [15, ETH_P_IPV6];
  await addU32(netlink, { linkIndex, parent: handle(1), priority, protocol }, [
    u32(TCA_U32_CLASSID, handle(1, minor)),
    bytes(TCA_U32_SEL, selector(keysOf(subnet, end))),
  ]);
}

async function addU32(
  netlink: Netlink,
  { linkIndex, parent, priority, protocol }: { linkIndex: number; parent: number; priority: number; protocol: number },
  options: Uint8Array[][],
): Promise<void> {
  // The protocol stands in network order beside the priority.
  const info = ((priority << 16) | (LITTLE_ENDIAN ? ((protocol & 0xff) << 8) | (protocol >> 8) : protocol)) >>> 0;
  await netlink.request({
    operation: `add a filter to link ${linkIndex}`,
    type: RTM_NEWTFILTER,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: [trafficHeader(linkIndex, 0, parent, info), ...text(TCA_KIND, 'u32'), ...nested(TCA_OPTIONS, options)],
  });
}

/** An address's bits that a prefix fixes, word by word. */
function keysOf(subnet: string, end: 'source' | 'destination'): Key[] {
  const { family, address, prefixLength } = networkOf(parsePrefix(subnet));
  const start = family === 4 ? (end === 'source' ? 12 : 16) : end === 'source' ? 8 : 24;
  const mask = Buffer.from(
    address.map((_, index) => (0xff00 >> Math.min(8, Math.max(0, prefixLength - index * 8))) & 0xff),
  );
  const words = Array.from({ length: address.length / 4 }, (_, word) => word * 4);
  return words
    .map((at) => ({
      mask: mask.subarray(at, at + 4),
      value: Buffer.from(address.subarray(at, at + 4)),
      offset: start + at,
    }))
    .filter(({ mask: bits }) => bits.some((byte) => byte !== 0));
}

/** struct tc_u32_sel and its keys; without a word that counts, one that every packet has. */
function selector(keys: readonly Key[]): Buffer {
  const all = keys.length > 0 ? keys : [{ mask: Buffer.alloc(4), value: Buffer.alloc(4), offset: 0 }];
  const header = Buffer.alloc(16);
  header[0] = TC_U32_TERMINAL;
  header[2] = all.length;
  return Buffer.concat([
    header,
    ...all.flatMap(({ mask, value, offset }) => {
      const places = Buffer.alloc(8);
      LITTLE_ENDIAN ? places.writeInt32LE(offset) : places.writeInt32BE(offset);
      return [mask, value, places];
    }),
  ]);
}
