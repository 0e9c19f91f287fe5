import { u32Bytes } from '../../linux/netlink/attributes.ts';
import { addressBytes, cidrBytes } from './address.ts';
import {
  bitwise,
  bitwiseNumber,
  compare,
  dnat,
  giveVerdict,
  HEADER_NETWORK,
  HEADER_TRANSPORT,
  loadAddressType,
  loadConnection,
  loadMeta,
  loadPayload,
  loadRandom,
  loadValue,
  lookup,
  masquerade,
  reject,
  setMark,
  updateSet,
} from './expressions.ts';
import type { MessageWriter } from './message.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6 } from './nf-tables.ts';
import type { Family, PacketField, Protocol, Statement } from './rule.ts';

interface FamilyFacts {
  protocol: number;
  addressBytes: number;
  /** Where the network header has them. */
  saddr: number;
  daddr: number;
  /** ICMP code of "port unreachable". */
  portUnreachable: number;
}

export const FAMILIES: Record<Family, FamilyFacts> = {
  ip: { protocol: NFPROTO_IPV4, addressBytes: 4, saddr: 12, daddr: 16, portUnreachable: 3 },
  ip6: { protocol: NFPROTO_IPV6, addressBytes: 16, saddr: 8, daddr: 24, portUnreachable: 4 },
};

/** NF_INET_PRE_ROUTING and so on. */
export const HOOK_NUMBERS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

const CT_STATE_NEW = 8;
const CT_STATUS_DNAT = 0x20;
const RTN_LOCAL = 2;
const IFNAMSIZ = 16;

/** Writes a statement as the expressions that nft makes of its text, so that nft prints that text again. */
export function encodeStatement(writer: MessageWriter, statement: Statement, family: Family): void {
  const { protocol, portUnreachable } = FAMILIES[family];
  const addressWords = FAMILIES[family].addressBytes / 4;
  switch (statement.kind) {
    case 'protocol':
      matchProtocol(writer, statement.protocol);
      break;
    case 'destination-port':
      matchProtocol(writer, statement.protocol);
      loadPayload(writer, 0, HEADER_TRANSPORT, 2, 2);
      compare(writer, 0, false, Uint8Array.of(statement.port >> 8, statement.port & 0xff));
      break;
    case 'connection-new':
      loadConnection(writer, 0, 'state');
      testBits(writer, CT_STATE_NEW);
      break;
    case 'connection-translated':
      loadConnection(writer, 0, 'status');
      testBits(writer, CT_STATUS_DNAT);
      break;
    case 'address': {
      const { address, mask, isWhole } = cidrBytes(statement.cidr);
      loadField(writer, 0, statement.field, family);
      if (!isWhole) bitwise(writer, 0, mask, new Uint8Array(mask.length));
      compare(writer, 0, statement.isNegated ?? false, address);
      break;
    }
    case 'in-interface':
      loadMeta(writer, 0, 'iifname');
      compare(writer, 0, statement.isNegated ?? false, interfaceName(statement.name));
      break;
    case 'local-address':
      loadAddressType(writer, 0, statement.field);
      compare(writer, 0, false, u32Bytes(RTN_LOCAL));
      break;
    case 'in-set':
      loadFields(writer, statement.fields, family);
      lookup(writer, 0, statement.set);
      break;
    case 'verdict-map':
      loadFields(writer, statement.fields, family);
      lookup(writer, 0, statement.map, 'verdict');
      break;
    case 'set-mark':
      loadMeta(writer, 0, 'mark');
      bitwiseNumber(writer, 0, ~statement.bits, statement.bits);
      setMark(writer, 0);
      break;
    case 'take-mark':
      loadMeta(writer, 0, 'mark');
      testBits(writer, statement.bits);
      loadMeta(writer, 0, 'mark');
      bitwiseNumber(writer, 0, ~statement.bits, 0);
      setMark(writer, 0);
      break;
    case 'dnat-random': {
      matchProtocol(writer, statement.protocol);
      const index = loadFields(writer, statement.fields, family);
      loadRandom(writer, index, statement.count, 0);
      lookup(writer, 0, statement.map, 0);
      dnat(writer, protocol, 0, addressWords);
      break;
    }
    case 'dnat':
      loadValue(writer, 0, addressBytes(statement.address));
      loadValue(writer, addressWords, Uint8Array.of(statement.port >> 8, statement.port & 0xff));
      dnat(writer, protocol, 0, addressWords);
      break;
    case 'chance':
      loadRandom(writer, 0, statement.oneIn, 0);
      compare(writer, 0, false, u32Bytes(0));
      break;
    case 'remember':
      loadField(writer, 0, 'saddr', family);
      updateSet(writer, statement.set, 0);
      break;
    case 'masquerade':
      masquerade(writer);
      break;
    case 'reject':
      reject(writer, portUnreachable);
      break;
    case 'jump':
    case 'goto':
      giveVerdict(writer, statement.kind, statement.chain);
      break;
    default:
      giveVerdict(writer, statement.kind);
  }
}

function matchProtocol(writer: MessageWriter, protocol: Protocol): void {
  loadMeta(writer, 0, 'l4proto');
  compare(writer, 0, false, Uint8Array.of(PROTOCOLS[protocol]));
}

/** Ends the rule unless one of the bits is set. */
function testBits(writer: MessageWriter, bits: number): void {
  bitwiseNumber(writer, 0, bits, 0);
  compare(writer, 0, true, u32Bytes(0));
}

/** The fields one behind another, each from a word's beginning: the key of a concatenation. @returns how many words it takes */
function loadFields(writer: MessageWriter, fields: readonly PacketField[], family: Family): number {
  let word = 0;
  for (const field of fields) word += loadField(writer, word, field, family);
  return word;
}

/** @returns how many words it takes */
function loadField(writer: MessageWriter, word: number, field: PacketField, family: Family): number {
  if (field === 'l4proto') loadMeta(writer, word, 'l4proto');
  else if (field === 'dport') loadPayload(writer, word, HEADER_TRANSPORT, 2, 2);
  else {
    const facts = FAMILIES[family];
    loadPayload(writer, word, HEADER_NETWORK, facts[field], facts.addressBytes);
    return facts.addressBytes / 4;
  }
  return 1;
}

/** Padded to the whole where the whole counts; with a `*` at the end only what stands before it. */
function interfaceName(name: string): Uint8Array {
  if (name.endsWith('*')) return Buffer.from(name.slice(0, -1));
  const bytes = Buffer.alloc(IFNAMSIZ);
  bytes.write(name);
  return bytes;
}
