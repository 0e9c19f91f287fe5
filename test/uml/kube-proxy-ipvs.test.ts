/** The real kube-proxy in mode ipvs beside ours: what both make of the same Services. */
import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { findPeerProgram } from '../../cli/kube-assets/assets.ts';
import { run } from '../../src/linux/exec.ts';
import { openIpset } from '../../src/netfilter/ipset.ts';
import { SET_TYPES, type SetType } from '../../src/netfilter/ipset-messages.ts';
import { createIptables } from '../../src/netfilter/iptables.ts';
import { canonicalRule } from '../../src/netfilter/rule.ts';
import { eventually } from '../support/eventually.ts';
import { prepareGuest, readVirtualServers } from '../support/ipvs.ts';
import { startKubeProxyApi } from '../support/kube-proxy-api.ts';
import { NODE_NAME, serviceOf, sliceOf } from '../support/proxy.ts';
import { createSources, startProxy } from '../support/proxy-world.ts';

const HERE = '/proc/self/ns/net';
const peer = findPeerProgram('kube-proxy', process.env);

test.before(prepareGuest);

const services = [
  serviceOf('ns/web', '10.96.0.1', {
    type: 'NodePort',
    ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }],
    externalIPs: ['203.0.113.1', '192.168.0.2'],
  }),
  serviceOf('ns/dns', '10.96.0.2', {
    type: 'NodePort',
    ports: [
      { name: 'udp', port: 53, nodePort: 30053, protocol: 'UDP' },
      { name: 'sctp', port: 53, nodePort: 30054, protocol: 'SCTP' },
    ],
  }),
  serviceOf('ns/sticky', '10.96.0.3', {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 600 } },
  }),
  serviceOf('ns/lb', '10.96.0.4', {
    type: 'LoadBalancer',
    ports: [{ port: 443, nodePort: 30443, protocol: 'TCP' }],
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: 32000,
    ingress: [{ ip: '203.0.113.4' }],
    loadBalancerSourceRanges: ['10.1.0.0/16', '192.168.0.0/24'],
  }),
  serviceOf('ns/none', '10.96.0.5'),
];
const slices = [
  sliceOf('ns/web', ['10.244.0.1', { ip: '10.244.1.1', nodeName: 'node-2' }]),
  sliceOf('ns/dns', ['10.244.0.2'], {
    ports: [
      { name: 'udp', port: 5353, protocol: 'UDP' },
      { name: 'sctp', port: 5353, protocol: 'SCTP' },
    ],
  }),
  sliceOf(
    'ns/sticky',
    ['10.244.1.3', '10.244.1.4'].map((ip) => ({ ip, nodeName: 'node-2' })),
  ),
  sliceOf('ns/lb', ['10.244.0.4', { ip: '10.244.1.5', nodeName: 'node-2' }]),
];

async function rulesOf(chain: string): Promise<string[]> {
  const { stdout } = await run('iptables', ['-t', 'nat', '-S', chain], { okCodes: [0, 1] });
  return stdout.split('\n').filter((line) => line.startsWith('-A'));
}

/** Rules by chain, of chains that have any. */
async function readRules(): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const [table, chains] of await createIptables({ family: 'IPv4', run }).save())
    for (const [chain, { rules }] of chains)
      if (rules.length > 0) found[`${table} ${chain}`] = rules.map(canonicalRule);
  return found;
}

const readAll = async () => ({
  servers: await readVirtualServers(HERE),
  sets: await readSets(),
  rules: await readRules(),
});

async function readSets(netns?: string): Promise<Record<string, string[]>> {
  const ipset = openIpset(netns);
  try {
    const found: [string, string[]][] = [];
    for (const { name, type } of await ipset.headers())
      if (type in SET_TYPES) found.push([name, (await ipset.elements({ name, type: type as SetType })).sort()]);
    return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
  } finally {
    ipset.close();
  }
}

const full = process.env['BERTH_TEST_FULL'] === '1' && 'path' in peer ? test.serial : test.serial.skip;

full(
  'kube-proxy 1.20 in mode ipvs: the same virtual servers and sets; ours takes over and cleans up after it',
  async (t) => {
    const kubeProxy = (peer as { path: string }).path;
    await run('ip', ['link', 'add', 'node0', 'type', 'dummy']);
    await run('ip', ['addr', 'add', '192.168.0.2/24', 'dev', 'node0']);
    await run('ip', ['link', 'set', 'node0', 'up']);
    const server = await startKubeProxyApi(t, { services, slices, nodeName: NODE_NAME });
    const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-'));
    const kubeconfig = join(folder, 'kubeconfig');
    const config = join(folder, 'config.json');
    const cluster = { clusters: [{ name: 'a', cluster: { server } }], users: [{ name: 'a', user: {} }] };
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        ...cluster,
        contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
        'current-context': 'a',
      }),
    );
    writeFileSync(
      config,
      JSON.stringify({
        apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
        kind: 'KubeProxyConfiguration',
        mode: 'ipvs',
        bindAddress: '192.168.0.2',
        hostnameOverride: NODE_NAME,
        clusterCIDR: '10.244.0.0/16',
        clientConnection: { kubeconfig, contentType: 'application/json', acceptContentTypes: 'application/json' },
        conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
      }),
    );
    const child = spawn(kubeProxy, ['--config', config, '-v', '2'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      log = `${log}${chunk}`.slice(-6000);
    });
    try {
      // It writes them last.
      await eventually('kube-proxy has synced', async () => (await rulesOf('KUBE-POSTROUTING')).length > 0);
    } catch (error) {
      t.log(log);
      throw error;
    } finally {
      child.kill('SIGKILL');
    }
    const theirs = await readAll();
    const sources = createSources();
    sources.services.put(...services);
    sources.endpointSlices.put(...slices);
    for (const source of Object.values(sources)) source.finishListing();
    const { proxy, stop } = startProxy(t, HERE, sources, { mode: 'ipvs', bindAddress: '192.168.0.2' }, undefined, [
      'IPv4',
    ]);
    await eventually('taken over', async () => !('TCP/127.0.0.1:30080 rr' in (await readVirtualServers(HERE))));
    await stop();
    const ours = await readAll();
    // Upstream serves no node port on loopback any more either (since 1.22).
    const isLoopback = (text: string) => text.includes('127.0.0.1');
    t.deepEqual(ours.servers, Object.fromEntries(Object.entries(theirs.servers).filter(([key]) => !isLoopback(key))));
    for (const [name, elements] of Object.entries(theirs.sets))
      t.deepEqual(
        ours.sets[name],
        elements.filter((one) => !isLoopback(one)),
        name,
      );
    for (const chain of ['NODE-PORT', 'POSTROUTING', 'MARK-MASQ'].map((name) => `nat KUBE-${name}`))
      t.deepEqual(ours.rules[chain], theirs.rules[chain], chain);
    for (const hook of ['PREROUTING', 'OUTPUT', 'POSTROUTING'].map((name) => `nat ${name}`))
      t.deepEqual(ours.rules[hook], theirs.rules[hook], hook);
    // Later versions turn loopback away first, and drop by source range in table filter.
    t.deepEqual(ours.rules['nat KUBE-SERVICES'], ['-j RETURN -s 127.0.0.0/8', ...theirs.rules['nat KUBE-SERVICES']!]);
    t.deepEqual(
      ours.rules['nat KUBE-LOAD-BALANCER'],
      theirs.rules['nat KUBE-LOAD-BALANCER']!.filter((rule) => !rule.endsWith('-j KUBE-FIREWALL')),
    );
    t.deepEqual(
      ours.rules['filter KUBE-SOURCE-RANGES-FIREWALL']!.slice(0, 2),
      theirs.rules['nat KUBE-FIREWALL']!.slice(0, 2),
    );
    t.false('nat KUBE-FIREWALL' in ours.rules);

    await proxy.cleanup();
    t.deepEqual(await readAll(), { servers: {}, sets: {}, rules: {} });
    await run('ip', ['link', 'delete', 'node0']);
  },
);
