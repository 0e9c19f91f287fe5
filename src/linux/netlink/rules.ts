import { formatIp, parsePrefix } from '../ip.ts';
import { type Attribute, bytes, readAttributes, readU32, u32 } from './attributes.ts';
import { AF_INET, AF_INET6, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from './constants.ts';
import type { Rtnetlink } from './rtnetlink.ts';

/** Numbers of linux/rtnetlink.h and fib_rules.h. */
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_PRIORITY = 6;
const FRA_TABLE = 15;
const FR_ACT_TO_TBL = 1;
const HEADER_BYTES = 12;

/** A routing rule, as far as we look: which packets are routed by which table. */
export interface Rule {
  family: 4 | 6;
  /** With prefix length; undefined: from anywhere. */
  source?: string;
  destination?: string;
  /** Lower ones are asked first. */
  priority: number;
  /** 0 for rules that do something else than looking up. */
  table: number;
}

export interface RuleSpec {
  /** With prefix length. */
  source: string;
  table: number;
  /** Default: just before the first that there is (`main` is 32766). */
  priority?: number;
}

/** The rules of one family, or of both, in the order in which the kernel asks them. */
export async function listRules(netlink: Rtnetlink, family?: 4 | 6): Promise<Rule[]> {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = family === 4 ? AF_INET : family === 6 ? AF_INET6 : 0;
  const bodies = await netlink.request({
    operation: 'list rules',
    type: RTM_GETRULE,
    flags: NLM_F_DUMP,
    body: [header],
  });
  return bodies.map(decodeRule).filter((rule) => rule !== undefined);
}

/** @throws NetlinkError EEXIST for one that is there with that priority. */
export async function addRule(netlink: Rtnetlink, spec: RuleSpec): Promise<void> {
  await netlink.request({
    operation: `add rule from ${spec.source} lookup ${spec.table}`,
    type: RTM_NEWRULE,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: encodeRule(spec),
  });
}

/** The first that matches. @throws NetlinkError ENOENT when there is none. */
export async function deleteRule(netlink: Rtnetlink, spec: RuleSpec): Promise<void> {
  await netlink.request({
    operation: `delete rule from ${spec.source} lookup ${spec.table}`,
    type: RTM_DELRULE,
    body: encodeRule(spec),
  });
}

/** struct fib_rule_hdr and attributes. */
function encodeRule({ source, table, priority }: RuleSpec): Uint8Array[] {
  const prefix = parsePrefix(source);
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = prefix.family === 4 ? AF_INET : AF_INET6;
  header[2] = prefix.prefixLength;
  // Numbers above 255 stand in FRA_TABLE only.
  header[4] = table < 256 ? table : 0;
  header[7] = FR_ACT_TO_TBL;
  const attributes: Attribute[] = [
    bytes(FRA_SRC, prefix.address),
    u32(FRA_TABLE, table),
    ...(priority === undefined ? [] : [u32(FRA_PRIORITY, priority)]),
  ];
  return [header, ...attributes.flat()];
}

function decodeRule(body: Buffer): Rule | undefined {
  const family = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined;
  if (!family) return undefined;
  const attributes = readAttributes(body, HEADER_BYTES);
  const prefix = (type: number, length: number) => {
    const data = attributes.get(type);
    return data && `${formatIp(data)}/${length}`;
  };
  const number = (type: number) => {
    const data = attributes.get(type);
    return data && readU32(data);
  };
  return {
    family,
    source: prefix(FRA_SRC, body[2]!),
    destination: prefix(FRA_DST, body[1]!),
    priority: number(FRA_PRIORITY) ?? 0,
    table: number(FRA_TABLE) ?? body[4]!,
  };
}
