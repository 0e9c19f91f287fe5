import { hasProgram } from '../../src/linux/exec.ts';
import { lookUpRoute } from '../../src/linux/netlink/route-lookup.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import { createConntrack } from '../../src/netfilter/ctnetlink.ts';
import { openNftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import { createPortmap } from '../plugins/portmap.ts';
import { createIptablesBackend } from '../portmap/iptables.ts';
import { type PortmapConfig, parseMapping } from '../portmap/mapping.ts';
import { createNftablesBackend } from '../portmap/nftables.ts';
import { CNI_ERROR, CniError, type Plugin } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { type Fields, readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import type { PluginDependencies } from './dependencies.ts';

/** The bit that the reference plugin takes; Kubernetes has 14 and 15. */
const DEFAULT_MARK_BIT = 13;

type Backend = Exclude<PortmapConfig['backend'], undefined>;

export function portmapProgram(deps: PluginDependencies): ProgramPlugin<PortmapConfig> {
  return { type: 'portmap', parse: parsePortmap, open: () => openPortmap(deps) };
}

/** The plugin with its sockets, for callers that live long. */
export function openPortmap(deps: Pick<PluginDependencies, 'run' | 'hostNetns'>): {
  plugin: Plugin<PortmapConfig>;
  close(): void;
} {
  const { run, hostNetns } = deps;
  const socket = openNftSocket(hostNetns);
  const host = openRtnetlink(hostNetns);
  const nft = createNft({ run, netns: hostNetns });
  const conntrack = createConntrack({ netns: hostNetns });
  const plugin = createPortmap({
    iptables: createIptablesBackend({ run, socket, hostNetns }),
    nftables: createNftablesBackend(socket, (script) => nft.apply(script)),
    hasIptables: () => hasProgram('iptables-restore') && hasProgram('iptables-save'),
    async allowLocalhost(podAddress) {
      const index = (await lookUpRoute(host, podAddress))?.linkIndex;
      const link = index === undefined ? undefined : await host.getLink(index);
      if (link) writeSysctl(`net/ipv4/conf/${link.name}/route_localnet`, '1', { netns: hostNetns });
    },
    async forgetUdpFlows(family, hostPorts, isStale) {
      // The look goes over the whole machine's table, some 10 ms, however few of its connections are this namespace's.
      if (readSysctl('net/netfilter/nf_conntrack_count', { netns: hostNetns }) === '0') return;
      // What goes to such a port elsewhere (to a name server, say) is none of ours.
      const own = new Set((await host.listAddresses()).map(({ address }) => address.split('/')[0]));
      try {
        await conntrack.deleteUdpFlows(
          family,
          ({ destination, destinationPort, replySource }) =>
            hostPorts.has(destinationPort) && own.has(destination) && isStale(replySource),
        );
      } catch (error) {
        // A kernel that does not tell of its connections: they end by themselves.
        if (!isNetlinkError(error, 'EOPNOTSUPP', 'EPROTONOSUPPORT', 'EINVAL')) throw error;
      }
    },
  });
  const close = () => {
    socket.close();
    host.close();
  };
  return { plugin, close };
}

function parsePortmap(conf: NetConf): PortmapConfig {
  const fields = readFields(conf.raw);
  const mappings = readFields(conf.runtimeConfig).list('portMappings').map(parseMapping);
  const setMarkChain = fields.text('externalSetMarkChain') || undefined;
  const conditions = { IPv4: conditionsOf(fields, 'conditionsV4'), IPv6: conditionsOf(fields, 'conditionsV6') };
  if (setMarkChain !== undefined && conf.raw['markMasqBit'] !== undefined && conf.raw['markMasqBit'] !== null)
    throw wrong('markMasqBit and externalSetMarkChain exclude each other: the mark is the other chain’s');
  const markBit = fields.count('markMasqBit', DEFAULT_MARK_BIT);
  if (markBit > 31) throw wrong(`markMasqBit: ${markBit} is not 0 to 31`);
  return {
    network: conf.name,
    mappings,
    addresses: (conf.prevResult?.ips ?? []).map(({ address }) => address.split('/')[0]!),
    snat: fields.flag('snat', true),
    masqAll: fields.flag('masqAll'),
    backend: chooseBackend(fields, setMarkChain, conditions),
    markBit,
    setMarkChain,
    conditions,
  };
}

/** What is configured; else what the other keys can be carried out by, since matches are in a backend's own words. */
function chooseBackend(
  fields: Fields,
  setMarkChain: string | undefined,
  conditions: PortmapConfig['conditions'],
): Backend | undefined {
  const backend = fields.text('backend');
  if (backend !== '' && backend !== 'iptables' && backend !== 'nftables')
    throw wrong(`backend: ${JSON.stringify(backend)} is not iptables or nftables`);
  const wants: [string, Backend | undefined][] = [
    ['backend', backend || undefined],
    ['externalSetMarkChain', setMarkChain === undefined ? undefined : 'iptables'],
    ['conditionsV4', languageOf(conditions.IPv4)],
    ['conditionsV6', languageOf(conditions.IPv6)],
  ];
  const [first, ...rest] = wants.filter(([, wanted]) => wanted !== undefined) as [string, Backend][];
  const other = rest.find(([, wanted]) => wanted !== first![1]);
  if (other) throw wrong(`${other[0]} is for ${other[1]}, ${first![0]} is for ${first![1]}`);
  return first?.[1];
}

/** Matches of iptables begin with a dash, or with the exclamation mark before one. */
function languageOf([first]: readonly string[]): Backend | undefined {
  return first === undefined ? undefined : /^[-!]/.test(first) ? 'iptables' : 'nftables';
}

function conditionsOf(fields: Fields, key: string): string[] {
  return fields.list(key).map((one) => {
    // A line of its own would be a rule of its own.
    if (typeof one !== 'string' || /[\n;]/.test(one))
      throw wrong(`${key}: ${JSON.stringify(one)} is not one match in words`);
    return one;
  });
}

const wrong = (what: string) => new CniError(CNI_ERROR.invalidNetworkConfig, `portmap: ${what}`);
