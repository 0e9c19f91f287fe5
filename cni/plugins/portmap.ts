/**
 * Host ports: connections to a port of the node go to a port of the pod. Chained behind the interface plugin, as the reference
 * plugin is, with its chains, in a table of our own:
 *
 *     prerouting, output: to a local address → hostports_all → hostip_hostports (of one address), hostports (of all)
 *     masquerading: a pod that reaches itself through the node, and the node's own 127.0.0.1
 *
 * Rules carry the container's id as comment, which is all that DEL needs. The table is there only while a pod uses it.
 */
import type { NftObject } from '../../src/netfilter/nft.ts';
import { type AttachmentKey, CNI_ERROR, CniError, type CniResult, type Plugin } from '../types.ts';

export interface PortMapping {
  hostPort: number;
  containerPort: number;
  protocol: 'tcp' | 'udp' | 'sctp';
  /** One address of the node; absent, empty or `0.0.0.0`: all. */
  hostIP?: string;
}

/** One of `runtimeConfig.portMappings`. @throws CniError 7 naming what is wrong. */
export function parseMapping(value: unknown): PortMapping {
  const { hostPort, containerPort, protocol = 'tcp', hostIP } = (value ?? {}) as Partial<PortMapping>;
  const wrong = (what: string) =>
    new CniError(CNI_ERROR.invalidNetworkConfig, `portMappings: ${what} in ${JSON.stringify(value)}`);
  for (const [name, port] of Object.entries({ hostPort, containerPort }))
    if (!Number.isInteger(port) || port! < 1 || port! > 65535) throw wrong(`${name} must be 1 to 65535`);
  const name = String(protocol).toLowerCase();
  if (name !== 'tcp' && name !== 'udp' && name !== 'sctp') throw wrong(`protocol must be tcp, udp or sctp`);
  return { hostPort: hostPort!, containerPort: containerPort!, protocol: name, ...(hostIP && { hostIP }) };
}

export interface PortmapConfig {
  mappings: readonly PortMapping[];
}

export interface PortmapDependencies {
  nft: {
    tables(): Promise<{ family: string; name: string }[]>;
    list(family: string, table: string): Promise<NftObject[]>;
    apply(script: string): Promise<void>;
  };
  /** Makes 127.0.0.1 usable as a source towards pods (route_localnet of the bridge). */
  allowLocalhost(): void;
  /** Forgets where UDP flows to this port went before; they would bypass the new rule until they fall silent. */
  forgetUdpFlows(hostPort: number): Promise<void>;
}

export const HOSTPORT_TABLE = { family: 'ip', name: 'berth-hostports' } as const;
const TABLE = `${HOSTPORT_TABLE.family} ${HOSTPORT_TABLE.name}`;

const SKELETON = `add table ${TABLE}
add chain ${TABLE} hostports
add chain ${TABLE} hostip_hostports
add chain ${TABLE} hostports_all
flush chain ${TABLE} hostports_all
add rule ${TABLE} hostports_all jump hostip_hostports
add rule ${TABLE} hostports_all jump hostports
add chain ${TABLE} prerouting { type nat hook prerouting priority -100; }
flush chain ${TABLE} prerouting
add rule ${TABLE} prerouting fib daddr type local jump hostports_all
add chain ${TABLE} output { type nat hook output priority -100; }
flush chain ${TABLE} output
add rule ${TABLE} output fib daddr type local jump hostports_all
add chain ${TABLE} masquerading { type nat hook postrouting priority 100; }
`;

/** The chains that hold pods' rules; the others only lead there. */
const POD_CHAINS = new Set(['hostports', 'hostip_hostports', 'masquerading']);

/** The transaction that adds a container's mappings to its IPv4 address. Pure. */
export function renderMappings(containerId: string, podIp: string, mappings: readonly PortMapping[]): string {
  const comment = `comment "${containerId}"`;
  const rules = mappings.map(({ hostPort, containerPort, protocol, hostIP }) => {
    const one = hostIP && hostIP !== '0.0.0.0';
    const chain = one ? 'hostip_hostports' : 'hostports';
    const match = `${one ? `ip daddr ${hostIP} ` : ''}${protocol} dport ${hostPort}`;
    return `add rule ${TABLE} ${chain} ${match} dnat to ${podIp}:${containerPort} ${comment}\n`;
  });
  const sources = [podIp, '127.0.0.1'].map(
    (source) => `add rule ${TABLE} masquerading ip saddr ${source} ip daddr ${podIp} masquerade ${comment}\n`,
  );
  return [SKELETON, ...rules, ...sources].join('');
}

/** The transaction that removes the rules of containers that are not kept; the whole table when no other is left; empty when there is nothing to do. Pure. */
export function renderMappingRemoval(objects: readonly NftObject[], keep: (containerId: string) => boolean): string {
  const rules = objects.flatMap(({ rule }) => (rule && POD_CHAINS.has(String(rule.chain)) ? [rule] : []));
  const removed = rules.filter(({ comment }) => !keep(String(comment)));
  if (removed.length === 0) return rules.length === 0 && objects.length > 0 ? `delete table ${TABLE}\n` : '';
  if (removed.length === rules.length) return `delete table ${TABLE}\n`;
  return removed.map(({ chain, handle }) => `delete rule ${TABLE} ${chain} handle ${handle}\n`).join('');
}

export function createPortmap(deps: PortmapDependencies): Plugin<PortmapConfig> {
  const { nft } = deps;
  /** Reading the table and changing it are two steps: one container at a time. */
  let tail: Promise<unknown> = Promise.resolve();
  function alone<T>(work: () => Promise<T>): Promise<T> {
    const result = tail.then(work);
    tail = result.catch(() => {});
    return result;
  }

  /** Only this plugin makes the table, so once it is gone nobody needs to look (nodes without host ports start no program). */
  let tableMayExist = true;

  async function list(): Promise<NftObject[]> {
    if (!tableMayExist) return [];
    const { family, name } = HOSTPORT_TABLE;
    tableMayExist = (await nft.tables()).some((table) => table.family === family && table.name === name);
    return tableMayExist ? nft.list(family, name) : [];
  }

  async function remove(keep: (containerId: string) => boolean): Promise<void> {
    const script = renderMappingRemoval(await list(), keep);
    if (script) await nft.apply(script);
  }

  return {
    type: 'portmap',

    async add(config, request, previous) {
      if (!previous)
        throw new CniError(CNI_ERROR.invalidNetworkConfig, 'portmap needs the result of an interface plugin');
      const mappings = config.mappings.filter(isIpv4);
      if (mappings.length === 0) return previous;
      await alone(async () => {
        // What a half-finished earlier ADD left would double the rules.
        await remove((id) => id !== request.containerId);
        deps.allowLocalhost();
        tableMayExist = true;
        await nft.apply(renderMappings(request.containerId, ipv4Of(previous), mappings));
        for (const { protocol, hostPort } of mappings) if (protocol === 'udp') await deps.forgetUdpFlows(hostPort);
      });
      return previous;
    },

    del: (_config, request) => alone(() => remove((id) => id !== request.containerId)),

    async check(config, request) {
      const wanted = config.mappings.filter(isIpv4).length;
      const have = (await list()).filter(
        ({ rule }) => rule?.comment === request.containerId && rule.chain !== 'masquerading',
      ).length;
      if (wanted !== have)
        throw new CniError(CNI_ERROR.unknown, `${have} of ${wanted} host ports of ${request.containerId} are mapped`);
    },

    async gc(_config, valid: readonly AttachmentKey[]) {
      const ids = new Set(valid.map(({ containerId }) => containerId));
      await alone(() => remove((id) => ids.has(id)));
    },

    async status() {},
  };
}

/** A mapping of an address of the other family is none of this table's. */
function isIpv4({ hostIP }: PortMapping): boolean {
  return !hostIP?.includes(':');
}

function ipv4Of({ ips }: CniResult): string {
  const address = ips.map((ip) => ip.address.split('/')[0]!).find((ip) => !ip.includes(':'));
  if (!address) throw new CniError(CNI_ERROR.invalidNetworkConfig, 'portmap: the container has no IPv4 address');
  return address;
}
