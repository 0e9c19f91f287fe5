import type { Node } from '../../src/kube/types.ts';
import { parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import { watchLinks } from '../../src/linux/netlink/link-monitor.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import { type AnnotationKeys, internalIpsOf, parsePublicIp, podCidrsOf } from './annotations.ts';
import type { PerFamily, SelfNode } from './backend.ts';
import { markLinks } from './leftovers.ts';
import type { NetConf } from './net-conf.ts';
import { computeUplink, type Uplink, type UplinkChoice } from './uplink.ts';

const FAMILIES = [4, 6] as const;
const MAIN_TABLE = 254;
const LOOK_INTERVAL_MS = 1_000;

/** Puts this node together: what its object says (pod CIDRs), and what the host has (the uplink and its addresses). */
export interface SelfReader {
  /** @throws ExplainedError when the host has no such uplink or address. */
  read(node: Node | undefined): Promise<{ node: Omit<SelfNode, 'earlierData'>; uplink: Uplink } | { waitsFor: string }>;
  /** What an earlier run of this backend told the others: a MAC, a key. */
  earlierData(node: Node | undefined): PerFamily<unknown>;
}

export function createSelfReader(options: {
  nodeName: string;
  conf: NetConf;
  keys: AnnotationKeys;
  uplink: UplinkChoice;
  backendType: string;
  hostNetns?: string;
}): SelfReader {
  const { nodeName, conf, keys, backendType } = options;
  let current: Uplink | undefined;

  async function readUplink(node: Node, families: readonly (4 | 6)[]): Promise<Uplink> {
    const said = node.metadata.annotations ?? {};
    const hinted: PerFamily<string> = {};
    for (const family of families) {
      const key = keys.nodePublicIp[family];
      if (said[key]) hinted[family] = parseHint(said[key], family, key);
    }
    const netlink = openRtnetlink(options.hostNetns);
    try {
      const [links, addresses, routes] = await Promise.all([
        netlink.listLinks(),
        netlink.listAddresses(),
        netlink.listRoutes({ table: MAIN_TABLE }),
      ]);
      await markLinks(netlink, links, backendType);
      const { nodeIps, publicIps } = options.uplink;
      const choice = {
        ...options.uplink,
        publicIps: { ...hinted, ...publicIps },
        nodeIps: nodeIps.length > 0 ? nodeIps : Object.values(internalIpsOf(node)),
      };
      current = computeUplink({ links, addresses, routes }, choice, families, current);
      return current;
    } finally {
      netlink.close();
    }
  }

  function parseHint(text: string, family: 4 | 6, key: string): string {
    try {
      return parsePublicIp(text, family, key);
    } catch (error) {
      throw new ExplainedError(
        `node "${nodeName}": ${(error as Error).message}: mend or remove it (kubectl annotate node)`,
      );
    }
  }

  return {
    async read(node) {
      const found = computeOwnCidrs(node, nodeName, conf);
      if (typeof found === 'string') return { waitsFor: found };
      const families = FAMILIES.filter((family) => found[family]);
      const uplink = await readUplink(node!, families);
      const { name, index, mtu, publicIps } = uplink;
      const { networks } = conf;
      return {
        uplink,
        node: { name: nodeName, podCidrs: found, networks, publicIps, uplink: { name, index, mtu } },
      };
    },

    earlierData(node) {
      const said = node?.metadata.annotations ?? {};
      if (said[keys.type] !== backendType) return {};
      return { 4: parseOrNone(said[keys.data[4]]), 6: parseOrNone(said[keys.data[6]]) };
    },
  };
}

/**
 * A cable, an MTU: what the uplink is made of. Pods' links come and go all the time and are none of it. Told at once, then once a second at
 * most: a link that flaps costs a look at all routes each time. @returns ends it.
 */
export function watchUplinks(hostNetns: string | undefined, clock: Clock, onChange: () => void): () => void {
  let cancel: (() => void) | undefined;
  let isMissed = false;
  function tell(): void {
    isMissed = false;
    onChange();
    cancel = clock.after(LOOK_INTERVAL_MS, () => {
      cancel = undefined;
      if (isMissed) tell();
    });
  }
  const stop = watchLinks({
    ...(hostNetns !== undefined && { netns: hostNetns }),
    onChange(_kind, { masterIndex, name }) {
      if (masterIndex !== undefined || name.startsWith('veth')) return;
      if (cancel) isMissed = true;
      else tell();
    },
  });
  return () => {
    stop();
    cancel?.();
  };
}

/** The node's pod CIDRs of the families that the overlay has, or, in flanneld's words, why there are none. Pure. */
export function computeOwnCidrs(node: Node | undefined, nodeName: string, conf: NetConf): PerFamily<string> | string {
  const name = JSON.stringify(nodeName);
  if (!node) return `node ${name} is not there yet`;
  let podCidrs: PerFamily<string>;
  try {
    podCidrs = podCidrsOf(node);
  } catch (error) {
    return `node ${name}: ${(error as Error).message}`;
  }
  const own: PerFamily<string> = {};
  for (const family of FAMILIES) {
    const [network, cidr] = [conf.networks[family], podCidrs[family]];
    if (!network || !cidr) continue;
    if (!prefixContains(parsePrefix(network), parsePrefix(cidr)))
      return `subnet "${network}" specified in the flannel net config doesn't contain "${cidr}" PodCIDR of the ${name} node (${conf.where})`;
    own[family] = cidr;
  }
  return own[4] || own[6] ? own : `node ${name} pod cidr not assigned`;
}

function parseOrNone(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
