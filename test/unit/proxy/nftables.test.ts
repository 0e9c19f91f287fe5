import test from 'ava';
import { namesOf } from '../../../proxy/nftables/names.ts';
import { type RuleSet, renderRuleSetSteps, replaceServicesSteps } from '../../../proxy/nftables/rule-set.ts';
import { ruleSetText } from '../../../proxy/nftables/text.ts';
import { runAtOnce } from '../../../src/runtime/slices.ts';
import { NODE_OPTIONS, serviceOf, sliceOf, snapshotOf } from '../../support/proxy.ts';
import { createRandomCluster } from '../../support/random-services.ts';

for (const family of ['IPv4', 'IPv6'] as const)
  test(`nftables, ${family}: 400 random changes one by one make the same table as all of them at once`, (t) => {
    const options = { ...NODE_OPTIONS, nodePortAddresses: [family === 'IPv4' ? '192.168.0.2' : 'fd00::2'] };
    for (const seed of [1, 2, 3, 4]) {
      const cluster = createRandomCluster(seed, family);
      let standing: RuleSet | undefined;
      for (let step = 0; step < 100; step++) {
        cluster.change();
        const { snapshot, dirty } = cluster.tracker.take();
        standing ??= runAtOnce(renderRuleSetSteps(snapshot, options));
        runAtOnce(replaceServicesSteps(standing, snapshot, dirty, options));
        const full = runAtOnce(renderRuleSetSteps(snapshot, options));
        t.deepEqual(standing.totals, full.totals, `seed ${seed}, step ${step}`);
        if (ruleSetText(standing) !== ruleSetText(full)) {
          t.is(ruleSetText(standing), ruleSetText(full), `seed ${seed}, step ${step}`);
          return;
        }
      }
    }
    t.pass();
  });

test('nftables: a change of one service touches its own elements and nothing of the others', (t) => {
  const services = Array.from({ length: 50 }, (_, index) => serviceOf(`ns/svc${index}`, `10.96.1.${index}`));
  const slices = services.map((_, index) => sliceOf(`ns/svc${index}`, [`10.244.1.${index}`, `10.244.2.${index}`]));
  const standing = runAtOnce(renderRuleSetSteps(snapshotOf(services, slices), NODE_OPTIONS));
  slices[7] = sliceOf('ns/svc7', ['10.244.1.7', '10.244.3.7']);
  const snapshot = snapshotOf(services, slices);
  const changes = runAtOnce(replaceServicesSteps(standing, snapshot, new Set(['ns/svc7']), NODE_OPTIONS));
  const touched = (elements: typeof changes.elements.added) =>
    [...elements].flatMap(([set, list]) => list.map(({ key }) => `${set.name}: ${key.join(' . ')}`));
  // Both endpoints are on this node: one hairpin element goes and one comes.
  t.deepEqual(touched(changes.elements.removed), [
    'service-endpoints: 10.96.1.7 . tcp . 80 . 1',
    'hairpin-connections: 10.244.2.7 . 10.244.2.7 . tcp . 8080',
  ]);
  t.deepEqual(touched(changes.elements.added), [
    'service-endpoints: 10.96.1.7 . tcp . 80 . 1',
    'hairpin-connections: 10.244.3.7 . 10.244.3.7 . tcp . 8080',
  ]);
});

test('nftables: an address that two ask for belongs to the first in order, and to its heir when that one goes', (t) => {
  // The tracker settles what two Services ask for; a snapshot that did not must be no worse than wrong for one of them.
  const services = [serviceOf('ns/b', '10.96.0.1'), serviceOf('ns/a', '10.96.0.2')];
  const slices = [sliceOf('ns/a', ['10.244.0.1']), sliceOf('ns/b', ['10.244.0.2', '10.244.0.3'])];
  const { family, services: states } = snapshotOf(services, slices);
  const [a, b] = [states.get('ns/a')!, states.get('ns/b')!];
  const same = { ports: a.ports.map((one) => ({ ...one, port: { ...one.port, clusterIp: '10.96.0.1' } })) };
  const both = {
    family,
    services: new Map([
      ['ns/a', same],
      ['ns/b', b],
    ]),
  };
  const standing = runAtOnce(renderRuleSetSteps(both, NODE_OPTIONS));
  const endpoints = () =>
    [...ruleSetText(standing).matchAll(/10\.96\.0\.1 \. tcp \. 80 \. \d : (\S+)/g)].map((match) => match[1]);
  t.deepEqual(endpoints(), ['10.244.0.1']);
  const heir = { family, services: new Map([['ns/b', b]]) };
  runAtOnce(replaceServicesSteps(standing, heir, new Set(['ns/a']), NODE_OPTIONS));
  t.deepEqual(endpoints(), ['10.244.0.2', '10.244.0.3']);
});

test("nftables: names are upstream's, with a hash in front and an end that is cut off at 240 characters", (t) => {
  const { port } = snapshotOf(
    [serviceOf('ns1/svc1', '10.96.0.1', { ports: [{ name: 'p80', port: 80 }] })],
    [],
  ).services.get('ns1/svc1')!.ports[0]!;
  // From kube-proxy's own tests.
  t.is(namesOf(port).cluster, 'service-ULMVA6XW-ns1/svc1/tcp/p80');
  const long = namesOf({ ...port, namespace: 'n'.repeat(63), name: 's'.repeat(63), portName: 'p'.repeat(15) });
  const endpoint = long.endpoint({ ip: 'fd00:1234:5678:9abc:def0:1234:5678:9abc', port: 65535 } as never).affinitySet;
  t.true(endpoint.length <= 255, endpoint);
  t.false(endpoint.includes(':'));
});
