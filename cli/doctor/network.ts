import type { Peer } from '../../cni/overlay/backend.ts';
import type { SessionStatus } from '../../cni/overlay/bgp/bird-status.ts';
import { parsePrefix, prefixesOverlap } from '../../src/linux/ip.ts';
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Route } from '../../src/linux/netlink/routes.ts';
import { type Finding, isOlder } from './finding.ts';
import { type FirewalldFacts, judgeFirewalld } from './firewalld.ts';
import { judgeForwardDroppers } from './forward-droppers.ts';
import { judgePathMtus, type LearnedMtu } from './path-mtu.ts';
import { judgeWireguard, type WireguardTraffic } from './wireguard.ts';

/** What is read of the host's pod network. */
export interface NetworkFacts {
  /** A cluster's daemon runs on this host: then what it makes has to be there. */
  isRunning: boolean;
  mode: string;
  confDir: string;
  /** What pods get: a configuration of the directory, or the built-in one; undefined where there is none. */
  network: { name: string; file?: string; plugins: string[] } | undefined;
  /** Files that are passed over, and why. */
  fileProblems: { file: string; message: string }[];
  /** Types that are neither ours nor in the directories of programs. */
  missingPlugins: string[];
  /** `none`: somebody else sees to the ways between nodes. `problem`: the configuration cannot be read. */
  overlay: { type: string; problem?: string };
  links: readonly Pick<Link, 'index' | 'name' | 'kind' | 'mtu' | 'up' | 'masterIndex'>[];
  /** Links of the overlay's backend, by name. */
  overlayLinks: readonly string[];
  /** The main table. */
  routes: readonly Route[];
  /** Which of them the overlay wrote. */
  isOwnRoute(route: Route): boolean;
  /** FLANNEL_MTU. */
  subnetMtu: number | undefined;
  bridge: string;
  /** All pods and Services. */
  clusterRanges: readonly { what: string; cidr: string }[];
  /** Other nodes; undefined while the API server does not answer. */
  peers: readonly Peer[] | undefined;
  /** Nodes that no overlay takes for a peer: what they say of themselves is malformed, or clashes with others. */
  refused: readonly { node: string; reason: string }[];
  learnedMtus: readonly LearnedMtu[];
  kernelRelease: string;
  /** Whether inner checksums are left to the hardware, by link; of VXLAN devices. */
  checksumOffload: Readonly<Record<string, boolean>>;
  /** Of BIRD; undefined when none runs. */
  bgpSessions?: readonly SessionStatus[];
  /** Of all peers; undefined with another backend. */
  wireguard?: readonly WireguardTraffic[];
  /** undefined when none runs. */
  firewalld?: FirewalldFacts;
  forwardDroppers: readonly string[];
  sysctl(key: string): string | undefined;
}

const FAMILIES = [4, 6] as const;
/** Their links are there as soon as the overlay is. */
const WITH_LINKS = ['vxlan', 'wireguard', 'udp', 'ipip'];
/** From this kernel on checksums of encapsulated packets that are masqueraded are right. */
const SOUND_CHECKSUMS = '5.7';

/** What keeps pods from being attached and from reaching each other. Pure. */
export function judgeNetwork(facts: NetworkFacts): Finding[] {
  return [
    judgeConfiguration(facts),
    ...judgePlugins(facts),
    ...(facts.isRunning ? [...judgeForwarding(facts), ...judgeOverlay(facts), ...judgeMtu(facts)] : []),
    ...judgePeers(facts),
    // Without a tunnel the figure harms nobody but who learned it.
    ...(WITH_LINKS.includes(facts.overlay.type) ? judgePathMtus(facts.learnedMtus, facts.peers ?? []) : []),
    ...judgeForeignRoutes(facts),
    ...judgeChecksums(facts),
    ...judgeBgp(facts),
    ...judgeWireguard(facts.wireguard, facts.peers ?? []),
    ...judgeFirewalld(facts.firewalld, facts.isRunning),
    ...judgeForwardDroppers(facts.forwardDroppers),
  ];
}

function judgeConfiguration({ mode, confDir, network, fileProblems }: NetworkFacts): Finding {
  const check = 'pod network';
  const broken = fileProblems.map(({ file, message }) => `${file}: ${message}`).join('; ');
  if (!network)
    return {
      check,
      state: 'problem',
      detail: broken || `no network configuration in ${confDir}, and --cni ${mode} wants one`,
      remedy:
        'put one there, or start with --cni auto: then there is the built-in network where the directory has none',
    };
  const { name, file, plugins } = network;
  const detail = `${name} (${file ?? 'built-in'}: ${plugins.join(', ')})`;
  if (broken === '') return { check, state: 'ok', detail };
  return { check, state: 'warning', detail: `${detail}; passed over: ${broken}`, remedy: 'mend or remove these files' };
}

function judgePlugins({ network, missingPlugins }: NetworkFacts): Finding[] {
  if (missingPlugins.length === 0) return [];
  return [
    {
      check: 'network plugins',
      state: 'problem',
      detail: `${network?.name} needs ${missingPlugins.join(', ')}, which no directory of plugins has`,
      remedy: 'install what brings them, or name their directory with --cni-bin-dir',
    },
  ];
}

function judgeForwarding({ sysctl, clusterRanges }: NetworkFacts): Finding[] {
  const hasIpv6 = clusterRanges.some(({ cidr }) => cidr.includes(':'));
  const wanted = [
    ['net.ipv4.ip_forward', 'pods reach nothing outside of this node'],
    ['net.bridge.bridge-nf-call-iptables', 'Services do not answer pods of the same node'],
    ...(hasIpv6 ? [['net.ipv6.conf.all.forwarding', 'pods reach nothing by IPv6 outside of this node']] : []),
  ] as [string, string][];
  return wanted.map(([key, why]) => {
    const value = sysctl(key);
    if (value === '1') return { check: key, state: 'ok', detail: value };
    return {
      check: key,
      state: 'problem',
      detail: `${value ?? 'not there'}: ${why}`,
      remedy: `sysctl -w ${key}=1, and look for what sets it to 0 (below /etc/sysctl.d, a firewall)`,
    };
  });
}

function judgeOverlay({ overlay, overlayLinks, links }: NetworkFacts): Finding[] {
  const check = 'overlay';
  if (overlay.problem)
    return [{ check, state: 'problem', detail: overlay.problem, remedy: 'mend it, and start the node again' }];
  if (overlay.type === 'none') return [{ check, state: 'ok', detail: 'none: somebody else leads to other nodes' }];
  if (!WITH_LINKS.includes(overlay.type)) return [{ check, state: 'ok', detail: overlay.type }];
  if (overlayLinks.length === 0)
    return [
      {
        check,
        state: 'problem',
        detail: `${overlay.type}: its device is not there`,
        remedy: "the daemon's log says why: the kernel may lack it, or a port is taken",
      },
    ];
  const down = links.filter(({ name, up }) => overlayLinks.includes(name) && !up).map(({ name }) => name);
  if (down.length === 0) return [{ check, state: 'ok', detail: `${overlay.type} (${overlayLinks.join(', ')})` }];
  return [
    {
      check,
      state: 'problem',
      detail: `${overlay.type}: ${down.join(', ')} is down`,
      remedy: `ip link set ${down[0]} up, and look for who sets it down`,
    },
  ];
}

/** A pod that sends larger packets than the overlay carries: connections that open and then hang. */
function judgeMtu({ subnetMtu, links, bridge }: NetworkFacts): Finding[] {
  if (subnetMtu === undefined) return [];
  const bridgeIndex = links.find(({ name }) => name === bridge)?.index;
  const larger = links.filter(({ masterIndex, mtu, name }) =>
    name === bridge ? mtu > subnetMtu : masterIndex !== undefined && masterIndex === bridgeIndex && mtu > subnetMtu,
  );
  const check = 'MTU of pods';
  const ports = larger.filter(({ name }) => name !== bridge);
  if (ports.length === 0) return [{ check, state: 'ok', detail: `${subnetMtu}` }];
  return [
    {
      check,
      state: 'warning',
      detail: `${ports.length} pods have more than the ${subnetMtu} bytes that the overlay carries (${ports[0]!.name}: ${ports[0]!.mtu})`,
      remedy: 'pods that are made anew get the right one: delete these',
    },
  ];
}

/** Routes of several nodes in one line: a cluster may have hundreds. */
function judgePeers({ peers, refused, overlay, routes, isOwnRoute, isRunning }: NetworkFacts): Finding[] {
  const check = 'ways to other nodes';
  if (!isRunning || overlay.type === 'none' || overlay.type === 'alloc') return [];
  if (peers === undefined)
    return [{ check, state: 'warning', detail: 'the API server does not say which nodes there are' }];
  const reached = new Set(routes.filter(isOwnRoute).map(({ destination }) => destination));
  const isReached = ({ podCidrs }: Peer) => FAMILIES.every((one) => !podCidrs[one] || reached.has(podCidrs[one]));
  const without = [
    ...refused,
    ...peers.filter((peer) => !isReached(peer)).map((peer) => ({ node: peer.node, reason: whyNoRoute(peer, overlay) })),
  ];
  const total = peers.length + refused.length;
  if (total === 0) return [];
  if (without.length === 0) return [{ check, state: 'ok', detail: `to all ${total} of them` }];
  const named = without.slice(0, 5).map(({ node, reason }) => (reason === undefined ? node : `${node} (${reason})`));
  return [
    {
      check,
      state: 'problem',
      detail: `no route to the pods of ${named.join(', ')}${without.length > 5 ? ` and ${without.length - 5} more` : ''}`,
      remedy: "the daemon's log says why ('pods of this node cannot be reached'); all nodes need the same backend",
    },
  ];
}

/** As far as the Node object tells. */
function whyNoRoute({ backendType }: Peer, overlay: { type: string }): string | undefined {
  if (backendType === undefined && overlay.type !== 'host-gw')
    return 'its overlay has not said yet how it is reached: does it run?';
  return undefined;
}

/** A VPN that has the pods' addresses, a route that somebody wrote by hand. */
function judgeForeignRoutes({
  routes,
  isOwnRoute,
  clusterRanges,
  links,
  overlayLinks,
  bridge,
}: NetworkFacts): Finding[] {
  const check = 'routes of others';
  const nameOf = (index: number | undefined) => links.find((link) => link.index === index)?.name;
  const isOfPods = (name: string | undefined) =>
    name !== undefined && (name === bridge || overlayLinks.includes(name) || /^(veth|cni|cali|lo$)/.test(name));
  const clashes = routes.flatMap((route) => {
    if (isOwnRoute(route) || route.destination.endsWith('/0') || isOfPods(nameOf(route.linkIndex))) return [];
    if (route.type !== 'unicast') return [];
    const range = clusterRanges.find(({ cidr }) => prefixesOverlap(parsePrefix(cidr), parsePrefix(route.destination)));
    return range
      ? [`${route.destination} by ${route.gateway ?? nameOf(route.linkIndex)} lies in ${range.what} ${range.cidr}`]
      : [];
  });
  if (clashes.length === 0) return [{ check, state: 'ok', detail: 'none among the addresses of pods and Services' }];
  return [
    {
      check,
      state: 'warning',
      detail: clashes.slice(0, 3).join('; '),
      remedy: 'remove them (ip route del), or give the cluster other ranges (--pod-cidr, --service-cidr)',
    },
  ];
}

/** R16. */
function judgeChecksums({ checksumOffload, kernelRelease }: NetworkFacts): Finding[] {
  const check = 'VXLAN checksums';
  const offloading = Object.entries(checksumOffload).filter(([, on]) => on);
  if (Object.keys(checksumOffload).length === 0) return [];
  if (offloading.length > 0 && isOlder(kernelRelease, SOUND_CHECKSUMS))
    return [
      {
        check,
        state: 'problem',
        detail: `kernel ${kernelRelease} breaks them where packets are masqueraded, and ${offloading[0]![0]} leaves them to the hardware`,
        remedy: `ethtool -K ${offloading[0]![0]} tx-checksum-ip-generic off (the overlay does so unless Backend.TxChecksumOffload says on)`,
      },
    ];
  const detail = Object.entries(checksumOffload).map(
    ([name, on]) => `${name} ${on ? 'leaves them to the hardware' : 'makes them in software'}`,
  );
  return [{ check, state: 'ok', detail: detail.join(', ') }];
}

function judgeBgp({ overlay, bgpSessions, isRunning }: NetworkFacts): Finding[] {
  const check = 'BGP sessions';
  if (overlay.type !== 'bgp' || !isRunning) return [];
  if (bgpSessions === undefined)
    return [
      { check, state: 'problem', detail: 'no BIRD runs', remedy: "the daemon's log says why; apt-get install bird2" },
    ];
  const down = bgpSessions.filter(({ isEstablished }) => !isEstablished);
  if (down.length === 0) return [{ check, state: 'ok', detail: `${bgpSessions.length} established` }];
  return [
    {
      check,
      state: 'problem',
      detail: `${down.length} of ${bgpSessions.length} are not established: ${down
        .slice(0, 3)
        .map(({ description, info }) => `${description} (${info})`)
        .join(', ')}`,
      remedy: 'TCP port 179 must be open between the nodes; password and AS number must be those of the other side',
    },
  ];
}
