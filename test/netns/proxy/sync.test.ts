import test from 'ava';
import { run } from '../../../src/linux/exec.ts';
import { removeEmptyTables } from '../../../src/netfilter/empty-tables.ts';
import { createIptables } from '../../../src/netfilter/iptables.ts';
import { createNft } from '../../../src/netfilter/nft.ts';
import { canonicalRule } from '../../../src/netfilter/rule.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { createSources, type Sources, startProxy } from '../../support/proxy-world.ts';

const NODE_PORT = { type: 'NodePort' as const, ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' as const }] };

function fill(sources: Sources): void {
  sources.services.put(
    serviceOf('ns/a', '10.96.0.1', NODE_PORT),
    serviceOf('ns/b', '10.96.0.2'),
    serviceOf('ns/c', '10.96.0.3', { sessionAffinity: 'ClientIP' }),
  );
  sources.services.put(serviceOf('ns/six', 'fd00:96::1'));
  sources.endpointSlices.put(
    sliceOf('ns/a', ['10.244.0.2', '10.244.0.3']),
    sliceOf('ns/c', ['10.244.0.4', '10.244.0.5']),
  );
  sources.endpointSlices.put(sliceOf('ns/six', ['fd00:244::2'], { addressType: 'IPv6' }));
}

function list(sources: Sources): void {
  for (const source of Object.values(sources)) source.finishListing();
}

/** With handles: a rule that was written again has another one. */
const rulesetWithHandles = (netns: TestNetns) => netns.run('nft', ['-a', 'list', 'ruleset']).then(withoutCounters);
const withoutCounters = (text: string) => text.replaceAll(/packets \d+ bytes \d+/g, '');

async function rules(netns: TestNetns) {
  const texts: string[] = [];
  for (const family of ['IPv4', 'IPv6'] as const)
    for (const [table, chains] of await createIptables({ family, run, netns: netns.path }).save())
      for (const [chain, saved] of chains)
        for (const [index, rule] of saved.rules.entries())
          texts.push(`${family} ${table} ${chain} ${index} ${canonicalRule(rule)}`);
  return texts.sort();
}

test('nothing is written before services and slices are both listed; then one restore per family', async (t) => {
  const netns = await createTestNetns(t, 'gate');
  const sources = createSources();
  fill(sources);
  const { restores } = startProxy(t, netns.path, sources);
  sources.services.finishListing();
  sources.nodes.finishListing();
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.is(await netns.run('nft', ['list', 'ruleset']), '');
  sources.endpointSlices.finishListing();
  await eventually('both families are written', () => restores.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 700));
  t.is(restores.length, 2, 'and no more than once');
});

test('a restart over standing rules writes nothing, and takes up what changed meanwhile', async (t) => {
  const netns = await createTestNetns(t, 'restart');
  const sources = createSources();
  fill(sources);
  list(sources);
  const first = startProxy(t, netns.path, sources);
  await eventually('the first sync', () => first.restores.length === 2);
  await first.stop();
  const before = await rulesetWithHandles(netns);

  const second = startProxy(t, netns.path, sources);
  await eventually('healthy', async () => (await healthOf(second.proxy)) === 200);
  await new Promise((resolve) => setTimeout(resolve, 600));
  t.deepEqual(second.restores, []);
  t.is(await rulesetWithHandles(netns), before);
  await second.stop();

  sources.endpointSlices.put(sliceOf('ns/a', ['10.244.0.3', '10.244.0.9']));
  const third = startProxy(t, netns.path, sources);
  await eventually('the change is written', () => third.restores.length === 1);
  t.notRegex(third.restores[0]!, /ns\/c|-A KUBE-SERVICES/);
});

async function healthOf(proxy: ReturnType<typeof startProxy>['proxy']): Promise<number> {
  const address = proxy.addresses().get('healthz');
  return address ? (await fetch(`http://127.0.0.1:${address.port}/healthz`)).status : 0;
}

test('many partial syncs leave what one full sync writes', async (t) => {
  const [live, fresh] = [await createTestNetns(t, 'live'), await createTestNetns(t, 'fresh')];
  const sources = createSources();
  fill(sources);
  list(sources);
  const running = startProxy(t, live.path, sources);
  await eventually('the first sync', () => running.restores.length === 2);
  const steps = [
    () => sources.endpointSlices.put(sliceOf('ns/a', ['10.244.0.3', '10.244.0.7', '10.244.0.8'])),
    () => sources.services.remove(serviceOf('ns/c', '10.96.0.3')),
    () => sources.services.put(serviceOf('ns/b', '10.96.0.2', { externalIPs: ['198.51.100.7'] })),
    () => sources.endpointSlices.put(sliceOf('ns/b', ['10.244.0.7'])),
    () => sources.services.put(serviceOf('ns/a', '10.96.0.1', { ...NODE_PORT, externalTrafficPolicy: 'Local' })),
    () => sources.services.put(serviceOf('ns/d', '10.96.0.4', { internalTrafficPolicy: 'Local' })),
    () => sources.endpointSlices.remove(sliceOf('ns/a', [])),
    () => sources.endpointSlices.put(sliceOf('ns/a', ['10.244.0.5'])),
  ];
  for (const step of steps) {
    const count = running.restores.length;
    step();
    await eventually('a partial sync', () => running.restores.length > count);
  }
  await running.stop();
  const anew = startProxy(t, fresh.path, sources);
  await eventually('a full sync', () => anew.restores.length === 2);
  await anew.stop();
  t.deepEqual(await rules(live), await rules(fresh));
});

test('rules that another program flushes come back within the sync period', async (t) => {
  const netns = await createTestNetns(t, 'flush');
  const sources = createSources();
  fill(sources);
  list(sources);
  const { restores } = startProxy(t, netns.path, sources);
  await eventually('the first sync', () => restores.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = await rules(netns);
  await netns.run('nft', ['delete', 'table', 'ip', 'nat']);
  await eventually('the rules are back', async () => (await rules(netns)).length === before.length);
  t.deepEqual(await rules(netns), before);
});

test('cleanup leaves the ruleset as it was, twice', async (t) => {
  const netns = await createTestNetns(t, 'cleanup');
  const ruleset = () => netns.run('nft', ['list', 'ruleset']).then(withoutCounters);
  await netns.run('iptables', ['-A', 'FORWARD', '-s', '172.17.0.0/16', '-j', 'ACCEPT']);
  const before = await ruleset();
  const sources = createSources();
  fill(sources);
  list(sources);
  const running = startProxy(t, netns.path, sources);
  await eventually('the first sync', () => running.restores.length === 2);
  await running.stop();
  t.not(await ruleset(), before);
  await running.proxy.cleanup();
  await removeEmptyTables(createNft({ run, netns: netns.path }), { 'ip filter': ['FORWARD'] });
  t.is(await ruleset(), before);
  await running.proxy.cleanup();
  await removeEmptyTables(createNft({ run, netns: netns.path }), { 'ip filter': ['FORWARD'] });
  t.is(await ruleset(), before);
});
