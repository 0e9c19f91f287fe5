import test from 'ava';
import { buildProxyRemoval, removeProxyRules } from '../../../proxy/iptables/cleanup.ts';
import { createIptablesProxier } from '../../../proxy/iptables/proxier.ts';
import { createChangeTracker } from '../../../proxy/state/tracker.ts';
import { canonicalRule } from '../../../src/netfilter/rule.ts';
import type { SavedTables } from '../../../src/netfilter/tables.ts';
import { createFakeIptables } from '../../fakes/iptables.ts';
import { NODE_NAME, NODE_OPTIONS, serviceOf, sliceOf } from '../../support/proxy.ts';

function setUp(variant: 'nft' | 'legacy' = 'nft') {
  const iptables = createFakeIptables('IPv4', variant);
  const proxier = createIptablesProxier(iptables);
  const tracker = createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
  const sync = (full = false) => {
    const { snapshot, dirty } = tracker.take();
    return proxier.sync(snapshot, dirty, { node: NODE_OPTIONS, full });
  };
  return { iptables, tracker, sync, proxier };
}

/** Tables with rules in one spelling and chains in one order. */
function normalize(tables: SavedTables) {
  return [...tables]
    .map(([name, chains]) => [
      name,
      [...chains]
        .map(([chain, { rules }]) => [chain, rules.map(canonicalRule)] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    ])
    .sort();
}

test('the first sync is full, a second without changes runs nothing', async (t) => {
  const { iptables, tracker, sync } = setUp();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  t.like(await sync(), { kind: 'full', wrote: true });
  t.like(await sync(), { kind: 'partial', wrote: false });
  t.like(await sync(true), { kind: 'full', wrote: false });
  t.is(iptables.restored.length, 1);
});

test('a restart over standing rules writes nothing', async (t) => {
  const { iptables, tracker, sync } = setUp();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.2', '10.244.0.3']));
  await sync();
  const again = createIptablesProxier(iptables);
  const { snapshot } = tracker.take();
  t.like(await again.sync(snapshot, new Set(), { node: NODE_OPTIONS, full: true }), { kind: 'full', wrote: false });
  t.is(iptables.restored.length, 1);
});

test('a changed endpoint rewrites the chains of its service and no other', async (t) => {
  const { iptables, tracker, sync } = setUp();
  for (const [index, name] of ['a', 'b', 'c'].entries()) {
    tracker.setService(serviceOf(`ns/${name}`, `10.96.0.${index + 1}`));
    tracker.setSlice(sliceOf(`ns/${name}`, ['10.244.0.2', '10.244.0.3']));
  }
  await sync();
  tracker.setSlice(sliceOf('ns/b', ['10.244.0.3', '10.244.0.4']));
  t.like(await sync(), { kind: 'partial', wrote: true });
  const text = iptables.restored.at(-1)!;
  t.regex(text, /^\*nat\n/);
  t.notRegex(text, /KUBE-SERVICES|ns\/a|ns\/c/);
  t.is(text.match(/^:KUBE-SVC-/gm)?.length, 1);
  t.is(
    text.match(/^:KUBE-SEP-/gm)?.length,
    2,
    'the new one is written and the old one removed; the one that stays is not touched',
  );
  t.is(text.match(/^-X KUBE-SEP-/gm)?.length, 1);
});

test('after a failed restore the next sync is full and makes it good', async (t) => {
  const { iptables, tracker, sync } = setUp();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  await sync();
  tracker.setService(serviceOf('ns/b', '10.96.0.2'));
  iptables.failNext(new Error('Another app is currently holding the xtables lock'));
  await t.throwsAsync(sync(), { message: /xtables lock/ });
  t.like(await sync(), { kind: 'full', wrote: true });
  const services = (await iptables.save('filter')).get('filter')!.get('KUBE-SERVICES')!;
  t.is(services.rules.filter((rule) => rule.includes('ns/b has no endpoints')).length, 1);
});

test('a flushed table is noticed and restored by a full sync', async (t) => {
  const { iptables, tracker, sync, proxier } = setUp();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  await sync();
  t.false(await proxier.isFlushed());
  const before = normalize(await iptables.save());
  iptables.flush('nat');
  t.true(await proxier.isFlushed());
  await sync(true);
  t.deepEqual(normalize(await iptables.save()), before);
});

test('chains of services that went away while nobody looked are removed; foreign ones are not', async (t) => {
  const { iptables, tracker, sync } = setUp();
  await iptables.restore([
    {
      table: 'nat',
      chains: ['KUBE-SVC-AAAAAAAAAAAAAAAA', 'KUBE-SEP-AAAAAAAAAAAAAAAA', 'DOCKER', 'KUBE-IPTABLES-HINT'],
      commands: ['-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA'],
    },
  ]);
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  await sync();
  const chains = [...(await iptables.save('nat')).get('nat')!.keys()];
  t.false(chains.some((chain) => /^KUBE-S(VC|EP)-A{16}$/.test(chain)));
  t.true(chains.includes('DOCKER') && chains.includes('KUBE-IPTABLES-HINT'));
});

test('any series of partial syncs ends where one full sync would', async (t) => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return (seed >> 12) % below; // its low bits merely alternate
  };
  const { iptables, tracker, sync } = setUp();
  const other = createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
  const both = [tracker, other];
  for (let step = 0; step < 120; step++) {
    const name = `ns/svc-${random(6)}`;
    const addresses = Array.from({ length: random(4) }, () => ({
      ip: `10.244.0.${random(5) + 2}`,
      nodeName: random(2) ? NODE_NAME : 'node-2',
      conditions: { ready: random(4) > 0, serving: true, terminating: random(2) > 0 },
    }));
    const service = serviceOf(name, `10.96.0.${random(9) + 1}`, {
      type: random(2) ? 'NodePort' : 'ClusterIP',
      externalTrafficPolicy: random(2) ? 'Local' : 'Cluster',
      internalTrafficPolicy: random(3) ? 'Cluster' : 'Local',
      sessionAffinity: random(3) ? 'None' : 'ClientIP',
      ports: [{ port: 80, nodePort: random(2) ? 30000 + random(9) : undefined, protocol: 'TCP' }],
    });
    const action = random(4);
    for (const one of both) {
      if (action === 0) one.deleteService(name);
      else if (action === 1) one.setService(service);
      else one.setSlice(sliceOf(name, addresses, { suffix: action === 2 ? 'a' : 'b' }));
    }
    if (random(2)) await sync();
  }
  await sync();
  const fresh = createFakeIptables();
  const { snapshot } = other.take();
  await createIptablesProxier(fresh).sync(snapshot, new Set(), { node: NODE_OPTIONS, full: true });
  t.deepEqual(normalize(await iptables.save()), normalize(await fresh.save()));
  t.true(iptables.restored.length > 20);
});

test('removal leaves what was there before, and twice is as good as once', async (t) => {
  const { iptables, tracker, sync } = setUp();
  await iptables.restore([{ table: 'nat', chains: ['DOCKER'], commands: ['-A PREROUTING -j DOCKER'] }]);
  const before = normalize(await iptables.save());
  tracker.setService(serviceOf('ns/a', '10.96.0.1', { type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] }));
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.2']));
  await sync();
  await removeProxyRules(iptables);
  const rest = new Map([...(await iptables.save())].filter(([name]) => name === 'nat'));
  t.deepEqual(normalize(rest), before);
  const count = iptables.restored.length;
  await removeProxyRules(iptables);
  t.is(iptables.restored.length, count);
});

test('KUBE-FIREWALL stays while a kubelet is at home', (t) => {
  const chain = { rules: [] as string[] };
  const filter = new Map([
    ['KUBE-FIREWALL', chain],
    ['KUBE-FORWARD', chain],
  ]);
  t.deepEqual(buildProxyRemoval(new Map([['filter', filter]]))[0]?.chains, ['KUBE-FIREWALL', 'KUBE-FORWARD']);
  const withKubelet: SavedTables = new Map([
    ['filter', filter],
    ['mangle', new Map([['KUBE-KUBELET-CANARY', chain]])],
  ]);
  t.deepEqual(buildProxyRemoval(withKubelet)[0]?.chains, ['KUBE-FORWARD']);
});

test('more than 1000 endpoints: rules do without comments', async (t) => {
  const { iptables, tracker, sync } = setUp();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  tracker.setSlice(
    sliceOf(
      'ns/a',
      Array.from({ length: 1001 }, (_, index) => `10.244.${index >> 8}.${index & 255}`),
    ),
  );
  t.like(await sync(), { skipsHourlyRepair: true });
  t.notRegex(iptables.restored[0]!, /ns\/a -> /);
});

function fillMany({ tracker }: Pick<ReturnType<typeof setUp>, 'tracker'>, services: number): void {
  for (let index = 0; index < services; index++) {
    const name = `ns/s${String(index).padStart(4, '0')}`;
    const address = (last: number) => `10.244.${index >> 6}.${(index & 63) * 4 + last}`;
    tracker.setService(serviceOf(name, `10.96.${index >> 8}.${index & 255}`));
    tracker.setSlice(sliceOf(name, [address(0), address(1)]));
  }
}

const sectionsOf = (text: string) => text.split('COMMIT\n').filter(Boolean);
const chainsOf = (section: string) => [...section.matchAll(/^:(\S+)/gm)].map(([, chain]) => chain!);

test('many services are written in sections of one run, none of them torn apart, before anything leads to them', async (t) => {
  const world = setUp();
  fillMany(world, 700);
  t.like(await world.sync(), { kind: 'full', wrote: true });
  t.is(world.iptables.restored.length, 1, 'one run of the program');
  const sections = sectionsOf(world.iptables.restored[0]!);
  t.true(sections.length >= 5);
  t.true(sections.every((section) => chainsOf(section).length < 620));
  for (const section of sections) {
    const known = new Set(chainsOf(section));
    for (const [, target] of section.matchAll(/-j (KUBE-SEP-\S+)$/gm)) t.true(known.has(target!), target);
  }
  const last = sections.at(-1)!;
  t.true(
    sections.slice(0, -1).every((section) => !/^-[AI] (KUBE-SERVICES|OUTPUT|PREROUTING) .*KUBE-SVC/m.test(section)),
  );
  t.is(last.match(/^-A KUBE-SERVICES .* -j KUBE-SVC-/gm)?.length, 700);

  const { iptables } = world;
  await removeProxyRules(iptables);
  const nat = (await iptables.save('nat')).get('nat')!;
  t.deepEqual(
    [...nat.keys()].filter((chain) => chain.startsWith('KUBE-')),
    [],
  );
});

test('the legacy backend, which replaces whole tables, gets each table once', async (t) => {
  const world = setUp('legacy');
  fillMany(world, 700);
  await world.sync();
  t.deepEqual(
    sectionsOf(world.iptables.restored[0]!).map((section) => /\*(\w+)/.exec(section)![1]),
    ['mangle', 'filter', 'nat'],
  );
});

test('a change among many services: one section, and the sums stay right', async (t) => {
  const world = setUp();
  fillMany(world, 700);
  const first = await world.sync();
  world.tracker.setSlice(sliceOf('ns/s0003', ['10.244.0.12', '10.250.0.1', '10.250.0.2']));
  const report = await world.sync();
  t.like(report, { kind: 'partial', wrote: true });
  t.is(sectionsOf(world.iptables.restored[1]!).length, 1);
  t.is(report.rules!.total['nat'], first.rules!.total['nat']! + 3, 'a jump and an endpoint chain of two rules more');
  world.tracker.deleteService('ns/s0003');
  t.is((await world.sync()).rules!.total['nat'], first.rules!.total['nat']! - 8);
  const saved = await world.iptables.save('nat');
  const count = [...saved.get('nat')!].reduce(
    (sum, [chain, { rules }]) => sum + (chain.startsWith('KUBE-') ? rules.length : 0),
    0,
  );
  t.is((await world.sync(true)).rules!.total['nat'], count);
});

test('crossing the threshold of large clusters rewrites all, either way', async (t) => {
  const world = setUp();
  fillMany(world, 500);
  t.like(await world.sync(), { kind: 'full', skipsHourlyRepair: false });
  world.tracker.setSlice(sliceOf('ns/s0003', ['10.244.0.12', '10.250.0.1', '10.250.0.2']));
  t.like(await world.sync(), { kind: 'full', skipsHourlyRepair: true });
  t.notRegex(world.iptables.restored[1]!, / -> 10\./);
  world.tracker.setSlice(sliceOf('ns/s0003', ['10.244.0.12']));
  t.like(await world.sync(), { kind: 'full', skipsHourlyRepair: false });
  t.regex(world.iptables.restored[2]!, / -> 10\./);
});
