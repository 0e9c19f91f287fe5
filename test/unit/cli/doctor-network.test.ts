import test from 'ava';
import { judgeNetwork, type NetworkFacts } from '../../../cli/doctor/network.ts';
import type { WireguardTraffic } from '../../../cli/doctor/wireguard.ts';
import type { Route } from '../../../src/linux/netlink/routes.ts';

const OVERLAY = 191;
const route = (destination: string, more: Partial<Route> = {}): Route => ({
  family: destination.includes(':') ? 6 : 4,
  type: 'unicast',
  destination,
  linkIndex: 2,
  metric: 0,
  protocol: OVERLAY,
  table: 254,
  scope: 0,
  onlink: false,
  ...more,
});
const peer = (number: number, backendType = 'vxlan') => ({
  node: `node-${number}`,
  podCidrs: { 4: `10.244.${number}.0/24` },
  publicIps: { 4: `192.0.2.${number}` },
  backendType,
  backendData: {},
});
const session = (more: Partial<WireguardTraffic>): WireguardTraffic => ({
  publicKey: 'two',
  address: '192.0.2.2',
  handshakeAgeSeconds: 5,
  sentBytes: 148,
  receivedBytes: 148,
  isSending: false,
  isReceiving: false,
  ...more,
});
const LINKS = [
  { index: 2, name: 'eth0', mtu: 1500, up: true },
  { index: 3, name: 'flannel.1', kind: 'vxlan', mtu: 1450, up: true },
  { index: 4, name: 'cni0', kind: 'bridge', mtu: 1450, up: true },
  { index: 5, name: 'veth1', kind: 'veth', mtu: 1450, up: true, masterIndex: 4 },
];
const FACTS: NetworkFacts = {
  isRunning: true,
  mode: 'auto',
  confDir: '/etc/cni/net.d',
  network: { name: 'berth', plugins: ['bridge', 'portmap'] },
  fileProblems: [],
  forwardDroppers: [],
  missingPlugins: [],
  overlay: { type: 'vxlan' },
  links: LINKS,
  overlayLinks: ['flannel.1'],
  routes: [
    route('0.0.0.0/0', { protocol: 3 }),
    route('192.0.2.0/24', { protocol: 2 }),
    route('10.244.1.0/24', { protocol: 2, linkIndex: 4 }),
    route('10.244.2.0/24', { linkIndex: 3 }),
  ],
  isOwnRoute: ({ protocol }) => protocol === OVERLAY,
  subnetMtu: 1450,
  bridge: 'cni0',
  clusterRanges: [
    { what: "the pods' range", cidr: '10.244.0.0/16' },
    { what: "the Services' range", cidr: '10.96.0.0/12' },
  ],
  peers: [peer(2)],
  refused: [],
  learnedMtus: [{ address: '198.51.100.9', mtuBytes: 1280 }],
  kernelRelease: '6.12.1',
  checksumOffload: { 'flannel.1': true },
  sysctl: () => '1',
};

const bad = (facts: Partial<NetworkFacts>) =>
  judgeNetwork({ ...FACTS, ...facts })
    .filter(({ state }) => state !== 'ok')
    .map(({ check, state, detail }) => `${state} ${check}: ${detail}`);

test('a node as it should be', (t) => {
  t.deepEqual(bad({}), []);
  const checks = judgeNetwork(FACTS).map(({ check, detail }) => `${check}: ${detail}`);
  t.true(checks.includes('pod network: berth (built-in: bridge, portmap)'));
  t.true(checks.includes('overlay: vxlan (flannel.1)'));
  t.true(checks.includes('ways to other nodes: to all 1 of them'));
});

test('a host without a cluster: only what is sure is said', (t) => {
  t.deepEqual(
    bad({ isRunning: false, overlayLinks: [], peers: undefined, sysctl: () => '0', subnetMtu: undefined }),
    [],
  );
});

for (const [title, facts, said] of [
  [
    'no configuration where one is wanted',
    { network: undefined, mode: 'directory' },
    'problem pod network: no network configuration in /etc/cni/net.d, and --cni directory wants one',
  ],
  [
    'a broken file before the one in use',
    {
      network: { name: 'cbr0', file: '/etc/cni/net.d/10-x.conflist', plugins: ['flannel'] },
      fileProblems: [{ file: '/etc/cni/net.d/00-a.conf', message: 'no JSON' }],
    },
    'warning pod network: cbr0 (/etc/cni/net.d/10-x.conflist: flannel); passed over: /etc/cni/net.d/00-a.conf: no JSON',
  ],
  [
    'a plugin that is nowhere',
    { missingPlugins: ['calico'] },
    'problem network plugins: berth needs calico, which no directory of plugins has',
  ],
  [
    'no forwarding',
    { sysctl: (key: string) => (key === 'net.ipv4.ip_forward' ? '0' : '1') },
    'problem net.ipv4.ip_forward: 0: pods reach nothing outside of this node',
  ],
  ['the device is gone', { overlayLinks: [] }, 'problem overlay: vxlan: its device is not there'],
  [
    'the device is down',
    { links: LINKS.map((one) => ({ ...one, up: one.name !== 'flannel.1' })) },
    'problem overlay: vxlan: flannel.1 is down',
  ],
  [
    'an unreadable net-conf.json',
    { overlay: { type: 'vxlan', problem: 'net-conf.json: is no JSON' } },
    'problem overlay: net-conf.json: is no JSON',
  ],
  [
    'pods with an earlier MTU',
    { subnetMtu: 1400 },
    'warning MTU of pods: 1 pods have more than the 1400 bytes that the overlay carries (veth1: 1450)',
  ],
  [
    'nodes that no overlay takes for a peer, and one whose overlay does not run',
    {
      peers: [peer(2), { ...peer(4), backendType: undefined }],
      refused: [{ node: 'node-3', reason: 'it has the backend host-gw, this node vxlan' }],
    },
    'problem ways to other nodes: no route to the pods of node-3 (it has the backend host-gw, this node vxlan), node-4 (its overlay has not said yet how it is reached: does it run?)',
  ],
  [
    'a node whose route somebody took away',
    { peers: [peer(2), peer(3)] },
    'problem ways to other nodes: no route to the pods of node-3',
  ],
  [
    'a tunnel that is narrowed by what the kernel has learned',
    { learnedMtus: [{ address: '192.0.2.2', mtuBytes: 1450 }] },
    'warning path MTU to nodes: the tunnels have less than their links, after what a router or the other node said of the way to node-2 (192.0.2.2): 1450 bytes',
  ],
  [
    'the API server is away',
    { peers: undefined },
    'warning ways to other nodes: the API server does not say which nodes there are',
  ],
  [
    "a VPN within the pods' range",
    { routes: [...FACTS.routes, route('10.244.128.0/17', { protocol: 4, gateway: '192.0.2.99' })] },
    "warning routes of others: 10.244.128.0/17 by 192.0.2.99 lies in the pods' range 10.244.0.0/16",
  ],
  [
    "a link within the Services' range",
    { routes: [...FACTS.routes, route('10.100.0.0/16', { protocol: 2 })] },
    "warning routes of others: 10.100.0.0/16 by eth0 lies in the Services' range 10.96.0.0/12",
  ],
  [
    'R16: a kernel that breaks checksums',
    { kernelRelease: '5.4.0-100' },
    'problem VXLAN checksums: kernel 5.4.0-100 breaks them where packets are masqueraded, and flannel.1 leaves them to the hardware',
  ],
  [
    'a BGP session that is down',
    {
      overlay: { type: 'bgp' },
      bgpSessions: [
        { protocol: 'a', description: 'node-2', isEstablished: false, info: 'Active', importedRoutes: 0 },
        { protocol: 'b', description: 'node-3', isEstablished: true, info: 'Established', importedRoutes: 1 },
      ],
    },
    'problem BGP sessions: 1 of 2 are not established: node-2 (Active)',
  ],
  [
    'firewalld that does not know the pods',
    { firewalld: { zonelessCidrs: ['10.244.0.0/16'] } },
    'problem firewalld: 10.244.0.0/16 is in none of its zones: it rejects what pods send',
  ],
  [
    'a WireGuard peer that hears and never agrees: another preshared key',
    { overlay: { type: 'wireguard' }, wireguard: [session({ handshakeAgeSeconds: undefined })] },
    'problem WireGuard sessions: 192.0.2.2 (never): its packets arrive, and no session comes of it: another preshared key',
  ],
  [
    'a WireGuard peer that is not reached',
    { overlay: { type: 'wireguard' }, wireguard: [session({ handshakeAgeSeconds: undefined, receivedBytes: 0 })] },
    'problem WireGuard sessions: 192.0.2.2 (never): packets are sent, and no answer comes',
  ],
  [
    'a WireGuard session that was, and packets that go on; its node by its key',
    {
      overlay: { type: 'wireguard' },
      peers: [{ ...peer(2, 'wireguard'), backendData: { 4: { PublicKey: 'two' } } }],
      wireguard: [session({ handshakeAgeSeconds: 600, isSending: true }), session({ handshakeAgeSeconds: 20 })],
    },
    'problem WireGuard sessions: node-2 (since 10 min): packets are sent, and no answer comes',
  ],
  [
    'a WireGuard session that was, and a peer that asks for another in vain',
    {
      overlay: { type: 'wireguard' },
      wireguard: [session({ handshakeAgeSeconds: 600, isSending: true, isReceiving: true })],
    },
    'problem WireGuard sessions: 192.0.2.2 (since 10 min): its packets arrive, and no session comes of it: another preshared key',
  ],
  [
    'a table of somebody else’s that drops what is forwarded',
    { forwardDroppers: ['nft chain inet filter forward'] },
    "warning forwarding: nft chain inet filter forward drops what no rule there accepts: the node's own accepts do not count there",
  ],
  ['no BIRD', { overlay: { type: 'bgp' } }, 'problem BGP sessions: no BIRD runs'],
] as [string, Partial<NetworkFacts>, string][])
  test(title, (t) => {
    t.deepEqual(bad(facts), [said]);
    for (const finding of judgeNetwork({ ...FACTS, ...facts }))
      if (finding.state === 'problem') t.truthy(finding.remedy);
  });

test('WireGuard peers with nothing to say to each other are no trouble', (t) => {
  const wireguard = [
    session({}),
    session({ handshakeAgeSeconds: 4000 }),
    session({ handshakeAgeSeconds: undefined, sentBytes: 0 }),
  ];
  const findings = judgeNetwork({ ...FACTS, wireguard }).filter(({ check }) => check === 'WireGuard sessions');
  t.deepEqual(
    findings.map(({ state, detail }) => `${state}: ${detail}`),
    ['ok: 1 of 3 in use, the others have nothing to send'],
  );
});
