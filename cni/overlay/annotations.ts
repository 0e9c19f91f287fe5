/** flannel's annotations of Node objects: how overlays of all makes tell each other where their pods are. */
import type { Node } from '../../src/kube/types.ts';
import {
  formatIp,
  formatPrefix,
  ipFamily,
  networkOf,
  parseIp,
  parsePrefix,
  prefixContains,
} from '../../src/linux/ip.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import type { Peer, PerFamily } from './backend.ts';

const FAMILIES = [4, 6] as const;
/** flannel's longest, WireGuard's, has 62. */
const DATA_LIMIT_CHARS = 1024;
const TYPE_LIMIT_CHARS = 64;

export interface AnnotationKeys {
  managed: string;
  type: string;
  data: Record<4 | 6, string>;
  publicIp: Record<4 | 6, string>;
  /** Set by a person: what the node is to give as its public address. */
  overwrite: Record<4 | 6, string>;
  /** Set by whoever knows the node's public address (a cloud's controller): what to take where no flag says one. */
  nodePublicIp: Record<4 | 6, string>;
}

/** `prefix` as flanneld's `--kube-annotation-prefix`: a domain, with a `/` and a name's beginning behind it if wanted. @throws ExplainedError */
export function annotationKeys(prefix = 'flannel.alpha.coreos.com'): AnnotationKeys {
  let start = prefix.includes('/') ? prefix : `${prefix}/`;
  if (!start.endsWith('/') && !start.endsWith('-')) start += '-';
  if (!/^([a-z0-9_-]+\.)+[a-z0-9_-]+\/([a-z0-9_-]+-)?$/.test(start))
    throw new ExplainedError(
      `--kube-annotation-prefix ${prefix}: is no domain such as flannel.alpha.coreos.com, with /name behind it if wanted`,
    );
  const both = (four: string, six: string) => ({ 4: `${start}${four}`, 6: `${start}${six}` });
  return {
    managed: `${start}kube-subnet-manager`,
    type: `${start}backend-type`,
    data: both('backend-data', 'backend-v6-data'),
    publicIp: both('public-ip', 'public-ipv6'),
    overwrite: both('public-ip-overwrite', 'public-ipv6-overwrite'),
    nodePublicIp: both('node-public-ip', 'node-public-ipv6'),
  };
}

/** Of a Node only what an overlay reads: objects of real clusters have kilobytes of images and conditions. For the informer's `transform`. */
export function slimNode(node: Node): Node {
  const { name, uid, resourceVersion, creationTimestamp, annotations } = node.metadata;
  return {
    apiVersion: node.apiVersion,
    kind: node.kind,
    metadata: { name, uid, resourceVersion, creationTimestamp, annotations },
    spec: { podCIDR: node.spec?.podCIDR, podCIDRs: node.spec?.podCIDRs },
    status: {
      addresses: node.status?.addresses,
      conditions: node.status?.conditions?.filter(({ type }) => type === 'NetworkUnavailable'),
    },
  } as Node;
}

/** A node's pod CIDRs in canonical text. @throws Error for one that is none, or two of a family. */
export function podCidrsOf(node: Node): PerFamily<string> {
  const { podCIDR, podCIDRs } = node.spec ?? {};
  const all = podCIDRs?.length ? podCIDRs : podCIDR ? [podCIDR] : [];
  const found: PerFamily<string> = {};
  for (const cidr of all) {
    const prefix = networkOf(parsePrefix(cidr));
    if (found[prefix.family]) throw new Error(`it has two pod CIDRs of one family (${all.join(', ')})`);
    found[prefix.family] = formatPrefix(prefix);
  }
  return found;
}

/** The first InternalIP of each family. */
export function internalIpsOf(node: Node): PerFamily<string> {
  const found: PerFamily<string> = {};
  for (const { type, address } of node.status?.addresses ?? [])
    if (type === 'InternalIP') found[ipFamily(address)] ??= formatIp(parseIp(address));
  return found;
}

/**
 * What a Node object says about its overlay; undefined for one that has no pod CIDR or no address yet. A node without annotations (another
 * kind of network, or one that has just come) is given by its InternalIPs: that is enough for plain routes.
 * @throws Error in words for an operator, for what is malformed.
 */
export function parsePeer(node: Node, keys: AnnotationKeys): Peer | undefined {
  const podCidrs = podCidrsOf(node);
  const said = node.metadata.annotations ?? {};
  const isManaged = said[keys.managed] === 'true';
  const peer: Peer = {
    node: node.metadata.name,
    podCidrs,
    publicIps: isManaged ? {} : internalIpsOf(node),
    backendType: isManaged ? said[keys.type]?.slice(0, TYPE_LIMIT_CHARS) : undefined,
    backendData: {},
  };
  for (const family of isManaged ? FAMILIES : []) {
    const ip = said[keys.publicIp[family]];
    if (ip) peer.publicIps[family] = parsePublicIp(ip, family, keys.publicIp[family]);
    const data = said[keys.data[family]];
    if (data) peer.backendData[family] = parseData(data, keys.data[family]);
  }
  for (const ip of Object.values(peer.publicIps)) if (!isNodeAddress(ip)) throw nobodys(ip);
  const isComplete = FAMILIES.some((family) => podCidrs[family] && peer.publicIps[family]);
  return isComplete ? peer : undefined;
}

/** @throws Error in words for an operator. */
export function parsePublicIp(text: string, family: 4 | 6, key: string): string {
  try {
    if (ipFamily(text) === family) return formatIp(parseIp(text));
  } catch {}
  throw new Error(`its annotation ${key} is no IPv${family} address: ${quote(text)}`);
}

/**
 * An annotation is written by its node, which may be anybody's by now: one of a quarter of a megabyte, nested as deep as it is long, must
 * not be more than that node's own trouble.
 */
function parseData(text: string, key: string): unknown {
  if (text.length > DATA_LIMIT_CHARS)
    throw new Error(`its annotation ${key} has ${text.length} characters, and no backend needs ${DATA_LIMIT_CHARS}`);
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`its annotation ${key} is no JSON: ${quote(text)}`);
  }
}

/** For messages: what others wrote, but not all of it. */
const quote = (text: string) => JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);

/** Whether packets for the address could arrive at one other machine. @throws for what is no address. */
function isNodeAddress(ip: string): boolean {
  const address = parseIp(ip);
  return !NOBODYS.some((prefix) => prefixContains(prefix, address));
}

const nobodys = (ip: string) => new Error(`its address ${ip} can be no other node's`);

/** Of no machine, of this one, of many, or of a link that would have to be named too. */
const NOBODYS = [
  ...['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/4', '255.255.255.255/32'],
  ...['::/127', '::ffff:0:0/96', 'fe80::/10', 'ff00::/8'],
].map(parsePrefix);

/** What a person wants this node to say of its addresses; `problems` in words: what cannot be used is passed over. Pure. */
export function readOverwrites(
  said: Readonly<Record<string, string>> | undefined,
  keys: AnnotationKeys,
): { publicIps: PerFamily<string>; problems: string[] } {
  const publicIps: PerFamily<string> = {};
  const problems: string[] = [];
  for (const family of FAMILIES) {
    const key = keys.overwrite[family];
    if (!said?.[key]) continue;
    try {
      const ip = parsePublicIp(said[key], family, key);
      if (!isNodeAddress(ip)) throw nobodys(ip);
      publicIps[family] = ip;
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  return { publicIps, problems };
}

/**
 * The annotations that this node needs: changed ones with their values, those of a family or backend that it no longer has as null;
 * empty when all is said already. Pure.
 */
export function diffAnnotations(
  have: Readonly<Record<string, string>> | undefined,
  want: { backendType: string; publicIps: PerFamily<string>; data: PerFamily<unknown> },
  keys: AnnotationKeys,
): Record<string, string | null> {
  const wanted: Record<string, string | null> = { [keys.managed]: 'true', [keys.type]: want.backendType };
  for (const family of FAMILIES) {
    const ip = readOverwrites(have, keys).publicIps[family] ?? want.publicIps[family];
    wanted[keys.publicIp[family]] = want.publicIps[family] === undefined ? null : ip!;
    wanted[keys.data[family]] = want.publicIps[family] === undefined ? null : JSON.stringify(want.data[family] ?? null);
  }
  return Object.fromEntries(Object.entries(wanted).filter(([key, value]) => (have?.[key] ?? null) !== value));
}
