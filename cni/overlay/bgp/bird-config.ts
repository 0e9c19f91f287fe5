/**
 * BIRD's configuration, as pieces: one for the node itself, one with the pods' networks, one for each other node. A node that comes
 * writes one small file. The same input gives the same bytes.
 */
import type { SelfNode } from '../backend.ts';
import type { BgpOptions } from './options.ts';
import { type BgpSession, FAMILIES, type Family, readCidr } from './sessions.ts';

/** rtm_protocol of every route that BIRD writes (RTPROT_BIRD of linux/rtnetlink.h); which are ours tells the metric. */
export const BIRD_ROUTE_PROTOCOL = 12;
/**
 * BIRD has no number of its own for us, and other instances of it use 32: the routes of this one are told by it. Behind the connected
 * routes of the pods' bridge (IPv4: 0, IPv6: 256), which the blackhole for the node's own pods must not hide.
 */
export const BGP_ROUTE_METRIC = 0x3bf;

/** Names of the files below the backend's directory. */
export const MAIN_FILE = 'bird.conf';
export const NETWORKS_FILE = 'pod-networks.conf';
export const CONTROL_SOCKET = 'bird.ctl';
export const PID_FILE = 'bird.pid';
export const LOG_FILE = 'bird.log';
const LOG_LIMIT_BYTES = 1 << 20;
/** How long a BIRD that was started anew waits for the others' routes before it deletes those of its predecessor. */
const RECOVERY_SECONDS = 30;

export function nodeFile(session: Pick<BgpSession, 'protocol'>): string {
  return `peers/${session.protocol}.conf`;
}

/**
 * `password` signs the sessions. Files are included by absolute path, hence `directory`.
 * Graceful restart (RFC 4724) at both ends and `persist` keep routes, and traffic, while a BIRD is away.
 */
export function renderMain(self: SelfNode, options: BgpOptions, password: string | undefined): string {
  const { directory, include } = options;
  const families = FAMILIES.filter((family) => self.podCidrs[family] && self.publicIps[family]);
  const main = [
    '# Written by Berth, which overwrites it. See docs/overlay.md for what can be set.',
    `log "${directory}/${LOG_FILE}" ${LOG_LIMIT_BYTES} "${directory}/${LOG_FILE}.1" { info, warning, error, fatal, bug, auth };`,
    `router id ${routerId(self)};`,
    'timeformat protocol iso long;',
    `graceful restart wait ${RECOVERY_SECONDS};`,
    'protocol device { scan time 10; }',
    // What next hops are looked up in, with the routes that the kernel protocol learns; pods' own links lead to no node.
    'protocol direct { ipv4; ipv6; interface -"cni0", -"veth*", "*"; }',
    `include "${directory}/${NETWORKS_FILE}";`,
    ...families.flatMap((family) => renderFamily(self, options, family, password)),
    `include "${directory}/peers/*.conf";`,
    ...include.map((path) => `include "${path}";`),
  ];
  return `${main.join('\n')}\n`;
}

function renderFamily(self: SelfNode, options: BgpOptions, family: Family, password: string | undefined): string[] {
  const own = readCidr(self.podCidrs[family]!, family);
  const reflectorId = options.routeReflectorClusterId;
  return [
    `define OWN${family} = [ ${own}+ ];`,
    `protocol static own${family} { ipv${family} { preference 250; }; route ${own} blackhole; }`,
    `protocol kernel kernel${family} {`,
    '  learn; persist; graceful restart; scan time 10;',
    `  metric ${BGP_ROUTE_METRIC};`,
    `  ipv${family} { import all; export where (proto = "own${family}") || ((source = RTS_BGP) && (net ~ PODS${family})); };`,
    '}',
    `template bgp session${family} {`,
    `  local ${self.publicIps[family]} port ${options.port} as ${options.asNumber};`,
    '  strict bind yes; multihop; hold time 90; graceful restart on;',
    '  connect delay time 1; connect retry time 5; error wait time 1, 10;',
    ...(password === undefined ? [] : [`  password "${password}";`]),
    ...(reflectorId === undefined ? [] : [`  rr cluster id ${reflectorId};`]),
    `  ipv${family} {`,
    '    gateway recursive; import none;',
    // A reflector passes on, and leaves the next hop as it is; everybody else tells of its own pods alone.
    reflectorId === undefined
      ? `    export where proto = "own${family}";`
      : `    next hop keep; export where (proto = "own${family}") || ((source = RTS_BGP) && (net ~ PODS${family}));`,
    '  };',
    '}',
  ];
}

/** All nodes' pod CIDRs: what BIRD may take from a reflector or router, and write into the kernel. `networks` has at least one. */
export function renderNetworks(networks: Readonly<Record<Family, readonly string[]>>): string {
  const sets = FAMILIES.filter((family) => networks[family].length > 0).map(
    (family) => `define PODS${family} = [\n${networks[family].map((network) => `  ${network}+`).join(',\n')}\n];\n`,
  );
  return sets.join('');
}

export function renderSession(session: BgpSession, { port }: Pick<BgpOptions, 'port'>): string {
  const { family, accepts } = session;
  const accepted = accepts === 'pods' ? `PODS${family}` : `[ ${accepts.map((cidr) => `${cidr}+`).join(', ')} ]`;
  return [
    `protocol bgp ${session.protocol} from session${family} {`,
    // No escapes in BIRD's texts; the names of nodes need none.
    `  description "${session.description.replaceAll(/[^\w.:-]/g, '_')}";`,
    `  neighbor ${session.neighbour} port ${port} as ${session.asNumber};`,
    ...(session.isReflectorClient ? ['  rr client;'] : []),
    ...(session.isBetweenOwn ? ['  allow local as 1;'] : []),
    `  ipv${family} { import where !(net ~ OWN${family}) && (net ~ ${accepted}); };`,
    '}\n',
  ].join('\n');
}

/** Four bytes that no other node has: the IPv4 address, or of a node without one the end of its IPv6 address. */
function routerId({ publicIps }: SelfNode): string {
  if (publicIps[4]) return publicIps[4];
  const [high = 0, low = 0] = lastGroups(publicIps[6] ?? '::1');
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

function lastGroups(address: string): number[] {
  const [, tail = ''] = address.split('::');
  const groups = (address.includes('::') ? `0:0:${tail}` : address).split(':').filter(Boolean);
  return groups.slice(-2).map((group) => Number.parseInt(group, 16) || 0);
}
