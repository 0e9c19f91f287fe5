import test from 'ava';
import { resolveSource } from '../../../cli/proxy-trace/origin.ts';
import { renderTrace } from '../../../cli/proxy-trace/print.ts';
import { parseDestination, parseOrigin } from '../../../cli/proxy-trace/question.ts';
import { withRunningConfig } from '../../../cli/proxy-trace/running-proxy.ts';
import { kubeProxyConfiguration } from '../../../proxy/config/kube-proxy-configuration.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { KubeClient } from '../../../src/kube/client.ts';

const DESTINATIONS: [text: string, expected: unknown][] = [
  ['10.96.0.1:80', { host: { address: '10.96.0.1' }, port: 80, protocol: 'TCP' }],
  ['10.96.0.10:53/udp', { host: { address: '10.96.0.10' }, port: 53, protocol: 'UDP' }],
  ['[fd00::1]:80/SCTP', { host: { address: 'fd00::1' }, port: 80, protocol: 'SCTP' }],
  ['web:http', { host: { namespace: 'home', name: 'web' }, port: 'http', protocol: 'TCP' }],
  ['shop/web:80', { host: { namespace: 'shop', name: 'web' }, port: 80, protocol: 'TCP' }],
  ['web.shop:80', { host: { namespace: 'shop', name: 'web' }, port: 80, protocol: 'TCP' }],
  ['web.shop.svc.cluster.local:80', { host: { namespace: 'shop', name: 'web' }, port: 80, protocol: 'TCP' }],
];
for (const [text, expected] of DESTINATIONS)
  test(`destination ${text}`, (t) => {
    t.deepEqual(parseDestination(text, 'home') as unknown, expected);
  });

const REFUSED: [text: string, why: RegExp][] = [
  ['10.96.0.1', /no port; a destination is IP:PORT/],
  ['10.96.0.1:0', /there is no port 0/],
  ['10.96.0.1:65536', /there is no port 65536/],
  ['10.96.0.1:http', /with an address it must be a number/],
  ['fd00::1:80', /an IPv6 address stands in brackets/],
  ['Web_1:80', /is neither an address nor the name of a Service/],
];
for (const [text, why] of REFUSED)
  test(`refused: ${text}`, (t) => {
    t.throws(() => parseDestination(text, 'home'), { message: why });
  });

test('--from: node, addresses, blocks, pods; what is none of them is refused', (t) => {
  t.deepEqual(parseOrigin('node', 'home'), { kind: 'node' });
  t.deepEqual(parseOrigin('203.0.113.0/24', 'home'), { kind: 'address', address: '203.0.113.0/24' });
  t.deepEqual(parseOrigin('fd00::1', 'home'), { kind: 'address', address: 'fd00::1' });
  t.deepEqual(parseOrigin('web-0', 'home'), { kind: 'pod', namespace: 'home', name: 'web-0' });
  t.deepEqual(parseOrigin('shop/web-0', 'home'), { kind: 'pod', namespace: 'shop', name: 'web-0' });
  for (const bad of ['10.0.0.0/33', '10.0.0.1/x', 'Web', 'a/b/c'])
    t.throws(() => parseOrigin(bad, 'home'), { message: /give a pod/ }, bad);
});

const CONTEXT = {
  client: {
    get: async (_resource: unknown, { name }: { name: string }) => ({
      metadata: { name },
      spec: { nodeName: name === 'far' ? 'node-2' : 'node-1', hostNetwork: name === 'host' },
      status: { podIPs: name === 'young' ? [] : [{ ip: '10.244.0.7' }, { ip: 'fd00::7' }] },
    }),
  } as unknown as KubeClient,
  nodeName: 'node-1',
  family: 'IPv4' as const,
  nodeIps: ['192.168.0.2'],
  host: { localAddresses: ['192.168.0.2', '10.244.0.1'] },
  routeOf: (address: string) => (address.startsWith('10.244.') ? 'cni0' : 'eth0'),
  destination: '10.96.0.1',
};

test('where a packet comes from: its address, and the interface by which answers to it leave', async (t) => {
  const source = (text: string, destination = CONTEXT.destination) =>
    resolveSource(parseOrigin(text, 'home'), { ...CONTEXT, destination });
  t.deepEqual(await source('node'), { source: '192.168.0.2' });
  t.deepEqual(await source('node', '127.0.0.1'), { source: '127.0.0.1' });
  t.deepEqual(await source('node', '10.244.0.1'), { source: '10.244.0.1' });
  t.deepEqual(await source('web'), { source: '10.244.0.7', inInterface: 'cni0' });
  t.deepEqual(await source('host'), { source: '192.168.0.2' });
  t.deepEqual(await source('203.0.113.0/24'), { source: '203.0.113.1', inInterface: 'eth0' });
  t.deepEqual(await source('203.0.113.8/31'), { source: '203.0.113.8', inInterface: 'eth0' });
  t.deepEqual(await source('10.244.0.1'), { source: '10.244.0.1' }, "the node's own address");
  await t.throwsAsync(source('far'), { message: /runs on node-2, not on node-1.*trace there/ });
  await t.throwsAsync(source('young'), { message: /has no IPv4 address yet/ });
  await t.throwsAsync(source('fd00::9'), { message: /of the other IP family/ });
});

test('what the running proxy says of its configuration counts, field by field', (t) => {
  const config = loadConfig(kubeProxyConfiguration, { flags: [] });
  const merged = withRunningConfig(config, {
    clusterCIDR: '10.9.0.0/16',
    iptables: { masqueradeAll: true, syncPeriod: 'thirty seconds' },
    unknown: 1,
  });
  t.is(merged.clusterCIDR, '10.9.0.0/16');
  t.true(merged.iptables.masqueradeAll);
  t.is(merged.iptables.masqueradeBit, 14);
  t.deepEqual(merged.ipvs, config.ipvs);
});

test('for people: what all ways share stands once', (t) => {
  const step = (chain: string) => ({ table: 'nat', chain, rule: `-j ${chain}X` });
  const end = {
    verdict: 'ACCEPT' as const,
    isMasqueraded: false,
    probability: 0.5,
    doubts: ['nat X: cannot judge "u32"'],
  };
  const text = renderTrace({
    node: 'node-1',
    mode: 'iptables',
    packet: {
      protocol: 'TCP',
      source: '10.244.0.9',
      inInterface: 'cni0',
      destination: '10.96.0.1',
      destinationPort: 80,
    },
    service: { namespace: 'ns', name: 'web', port: 'http', at: 'ClusterIP' },
    ends: [
      { ...end, destination: '10.244.0.1:8080', rules: [step('A'), step('B')] },
      { ...end, destination: '10.244.0.2:8080', rules: [step('A'), step('C')] },
    ],
    reasons: ['a reason'],
    live: { ends: [], differences: [] },
    lastSyncAgeSeconds: 12.3,
    gaps: [],
  });
  t.is(
    text,
    `TCP from 10.244.0.9 (interface cni0) to 10.96.0.1:80 (ClusterIP of Service ns/web, port http)
node node-1, mode iptables, last sync 12 s ago

Rules:
  nat A: -j AX
  to 10.244.0.1:8080:
    nat B: -j BX
  to 10.244.0.2:8080:
    nat C: -j CX

CHANCE   END
50 %     10.244.0.1:8080
50 %     10.244.0.2:8080

Why:
  a reason

In the kernel:
  the same ends

Not looked at:
  nat X: cannot judge "u32"
`,
  );
});
