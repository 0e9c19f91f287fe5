import test from 'ava';
import { hostPortsOf } from '../../../../agent/sandbox/config.ts';
import { computePodDns, NO_RESOLVER, parseResolvConf, renderResolvConf } from '../../../../agent/sandbox/dns.ts';
import { computeHostname, requireUsableHostname } from '../../../../agent/sandbox/hostname.ts';
import { renderHostNetworkHosts, renderHosts } from '../../../../agent/sandbox/hosts.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const NODE = { nodeHostname: 'node-1', clusterDomain: 'cluster.local' };

for (const [title, spec, expected] of [
  ['pod name', {}, 'web / - / web'],
  ['hostname', { hostname: 'h' }, 'h / - / h'],
  ['subdomain', { hostname: 'h', subdomain: 's' }, 'h / h.s.default.svc.cluster.local / h'],
  [
    'FQDN as hostname',
    { subdomain: 's', setHostnameAsFQDN: true },
    'web / web.s.default.svc.cluster.local / web.s.default.svc.cluster.local',
  ],
  ['host network', { hostNetwork: true, hostname: 'h' }, 'node-1 / - / node-1'],
  ['override', { hostnameOverride: 'o', hostname: 'h', subdomain: 's' }, 'o / - / o'],
] as [string, Partial<Pod['spec']>, string][])
  test(`hostname: ${title}`, (t) => {
    const { hostname, fqdn, kernelHostname } = computeHostname(podOf(spec), NODE);
    t.is(`${hostname} / ${fqdn ?? '-'} / ${kernelHostname}`, expected);
  });

test('hostname: cut to 63 characters, without a dangling dash or dot', (t) => {
  const name = `${'a'.repeat(61)}-.tail`;
  t.is(computeHostname(podOf({}, { name }), NODE).hostname, 'a'.repeat(61));
});

for (const [title, spec, message] of [
  [
    'an FQDN too long for the kernel',
    { subdomain: 's'.repeat(40), setHostnameAsFQDN: true },
    `failed to construct FQDN from pod hostname and cluster domain, FQDN web.${'s'.repeat(40)}.default.svc.cluster.local is too long (64 characters is the max, 70 characters requested)`,
  ],
  [
    'an override too long for the kernel',
    { hostnameOverride: 'o'.repeat(65) },
    /is too long \(64 characters is the max, 65/,
  ],
  ['a hostname of two labels', { hostname: 'a.b' }, 'pod spec.hostname "a.b" is not a valid DNS label'],
  ['a hostname in capitals', { hostname: 'Web' }, /spec.hostname "Web" is not/],
  ['a hostname of 64 characters', { hostname: 'h'.repeat(64) }, /is not a valid DNS label/],
  ['a subdomain with a slash', { subdomain: 'a/b' }, 'pod spec.subdomain "a/b" is not a valid DNS label'],
] as [string, Partial<Pod['spec']>, string | RegExp][])
  test(`hostname refused: ${title}`, (t) => {
    t.throws(() => requireUsableHostname(podOf(spec), NODE), { message });
    t.notThrows(() => computeHostname(podOf(spec), NODE));
  });

for (const [title, spec] of [
  ['63 characters', { hostname: 'h'.repeat(63) }],
  ['an override of 64', { hostnameOverride: 'o'.repeat(64) }],
  ['an FQDN of 64', { hostname: 'h'.repeat(30), subdomain: 's', setHostnameAsFQDN: true }],
  ['a long FQDN that is no host name', { hostname: 'h'.repeat(60), subdomain: 's'.repeat(60) }],
] as [string, Partial<Pod['spec']>][])
  test(`hostname taken: ${title}`, (t) => {
    t.notThrows(() => requireUsableHostname(podOf(spec), NODE));
  });

test('hosts file', (t) => {
  const name = computeHostname(podOf({ hostname: 'h', subdomain: 's' }), NODE);
  t.is(
    renderHosts(name, ['10.0.0.1', 'fd00::1'], [{ ip: '1.2.3.4', hostnames: ['a', 'b'] }]),
    `# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
10.0.0.1\th.s.default.svc.cluster.local\th
fd00::1\th.s.default.svc.cluster.local\th

# Entries added by HostAliases.
1.2.3.4\ta\tb
`,
  );
  t.is(
    renderHostNetworkHosts('127.0.0.1 localhost\n'),
    '# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n',
  );
});

const HOST = parseResolvConf(
  '# comment\nsearch old.example\nsearch corp.example.\nnameserver 192.0.2.53\noptions timeout:1 rotate ; x\n',
);
const CLUSTER = { clusterDns: ['10.96.0.10'], clusterDomain: 'cluster.local' };

test('resolv.conf is read: the last search line counts, trailing dots make no other domain', (t) => {
  t.deepEqual(HOST, { nameservers: ['192.0.2.53'], searches: ['corp.example'], options: ['timeout:1', 'rotate'] });
  t.deepEqual(parseResolvConf('search .\n').searches, ['.']);
});

const CLUSTER_FIRST =
  'search default.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n';
const FROM_HOST = 'search corp.example\nnameserver 192.0.2.53\noptions timeout:1 rotate\n';

for (const [title, spec, expected] of [
  ['ClusterFirst by default', {}, CLUSTER_FIRST],
  ['ClusterFirst with host network', { hostNetwork: true }, FROM_HOST],
  ['ClusterFirstWithHostNet', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }, CLUSTER_FIRST],
  ['Default', { dnsPolicy: 'Default' }, FROM_HOST],
  [
    'None',
    { dnsPolicy: 'None', dnsConfig: { nameservers: ['9.9.9.9'], searches: ['x'] } },
    'search x\nnameserver 9.9.9.9\n',
  ],
  [
    'dnsConfig is merged',
    {
      dnsConfig: {
        nameservers: ['9.9.9.9', '10.96.0.10'],
        searches: ['corp.example', 'x'],
        options: [{ name: 'ndots', value: '2' }, { name: 'rotate' }],
      },
    },
    'search default.svc.cluster.local svc.cluster.local cluster.local corp.example x\nnameserver 10.96.0.10\nnameserver 9.9.9.9\noptions ndots:2 rotate\n',
  ],
] as [string, Partial<Pod['spec']>, string][])
  test(`DNS: ${title}`, (t) => {
    const { config, warnings } = computePodDns(podOf(spec), HOST, CLUSTER);
    t.is(renderResolvConf(config), expected);
    t.deepEqual(warnings, []);
  });

test('DNS: no cluster DNS falls back with an event', (t) => {
  const { config, warnings } = computePodDns(podOf(), HOST, { clusterDns: [], clusterDomain: 'cluster.local' });
  t.is(renderResolvConf(config), FROM_HOST);
  t.is(warnings[0]!.reason, 'MissingClusterDNS');
});

test('DNS: a node without a resolver gives none', (t) => {
  const { config } = computePodDns(podOf({ dnsPolicy: 'Default' }), NO_RESOLVER, CLUSTER);
  t.is(renderResolvConf(config), 'search .\nnameserver 127.0.0.1\n');
});

test('DNS: 2048 characters of search domains, whole ones', (t) => {
  const searches = Array.from({ length: 20 }, (_, i) => `${String(i).padStart(2, '0')}${'x'.repeat(118)}`);
  const dnsConfig = { nameservers: ['1.1.1.1'], searches };
  const { config, warnings } = computePodDns(podOf({ dnsPolicy: 'None', dnsConfig }), HOST, CLUSTER);
  // 17 domains of 120 characters with their spaces are 2056.
  t.is(config.searches.length, 16);
  t.is(
    warnings[0]!.message,
    `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${config.searches.join(' ')}`,
  );
});

test('DNS: limits cut, with events', (t) => {
  const dnsConfig = {
    nameservers: ['1.1.1.1', '2.2.2.2', '3.3.3.3'],
    searches: Array.from({ length: 40 }, (_, i) => `s${i}`),
  };
  const { config, warnings } = computePodDns(podOf({ dnsConfig }), HOST, CLUSTER);
  t.deepEqual(config.nameservers, ['10.96.0.10', '1.1.1.1', '2.2.2.2']);
  t.is(config.searches.length, 32);
  t.deepEqual(
    warnings.map(({ reason }) => reason),
    ['DNSConfigForming', 'DNSConfigForming'],
  );
});

test('host ports', (t) => {
  const containers = [
    {
      name: 'a',
      image: 'i',
      ports: [
        { containerPort: 80, hostPort: 8080 },
        { containerPort: 81 },
        { containerPort: 53, hostPort: 53, protocol: 'UDP' as const, hostIP: '192.0.2.1' },
      ],
    },
  ];
  t.deepEqual(hostPortsOf(podOf({ containers })), [
    { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    { hostPort: 53, containerPort: 53, protocol: 'udp', hostIP: '192.0.2.1' },
  ]);
  t.deepEqual(hostPortsOf(podOf({ containers, hostNetwork: true })), []);
});
