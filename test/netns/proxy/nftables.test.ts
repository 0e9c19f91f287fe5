import test, { type ExecutionContext } from 'ava';
import type { NodeRenderOptions, Proxier } from '../../../proxy/mode.ts';
import { createNftablesMode } from '../../../proxy/nftables/mode.ts';
import { createNftablesProxier, createTurns } from '../../../proxy/nftables/proxier.ts';
import { NLM_F_CREATE, NLM_F_REQUEST } from '../../../src/linux/netlink/constants.ts';
import { NftBatch, type Transaction } from '../../../src/netfilter/nfnetlink/batch.ts';
import { HEADER_NETWORK, loadPayload, lookup } from '../../../src/netfilter/nfnetlink/expressions.ts';
import { MessageWriter, messageType, NFNL_SUBSYS_NFTABLES } from '../../../src/netfilter/nfnetlink/message.ts';
import {
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFT_MSG_NEWRULE,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_TABLE,
} from '../../../src/netfilter/nfnetlink/nf-tables.ts';
import type { Rule } from '../../../src/netfilter/nfnetlink/rule.ts';
import { openNftSocket } from '../../../src/netfilter/nfnetlink/socket.ts';
import { hasAnyRule, tableExists } from '../../../src/netfilter/nfnetlink/table.ts';
import type { IpFamily } from '../../../src/netfilter/tables.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { SCENARIOS } from '../../golden/proxy/scenarios.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';
import { NODE_OPTIONS, serviceOf, sliceOf, snapshotOf } from '../../support/proxy.ts';
import { createSources, createWorld, startProxy } from '../../support/proxy-world.ts';
import { createRandomCluster } from '../../support/random-services.ts';

const NOTHING: ReadonlySet<string> = new Set();

function modeIn(netns: TestNetns) {
  const noProgram = () => Promise.reject(new Error('no program is to be run'));
  return createNftablesMode({
    netns: netns.path,
    run: noProgram,
    log: silentLogger,
    metrics: new Registry(),
  } as unknown as Parameters<typeof createNftablesMode>[0]);
}

function proxierIn(t: ExecutionContext, netns: TestNetns, family: IpFamily = 'IPv4'): Proxier {
  const proxier = createNftablesProxier({
    family,
    openSocket: () => openNftSocket(netns.path),
    netns: netns.path,
    log: silentLogger,
    turns: createTurns(),
  });
  t.teardown(() => proxier.close?.());
  return proxier;
}

const full = (node: NodeRenderOptions = NODE_OPTIONS) => ({ node, full: true });

/** Lines without the order in which nft prints what it found in hash tables. */
function linesOf(listing: string): string[] {
  return listing
    .split('\n')
    .map((line) =>
      line
        .trim()
        .replace(/^elements = \{ /, '')
        .replace(/,$| \}$/, ''),
    )
    .filter((line) => line !== '')
    .sort();
}

test('usable: the kernel proves every expression, and nothing is left of the trial', async (t) => {
  const netns = await createTestNetns(t, 'probe');
  const socket = openNftSocket(netns.path);
  t.teardown(() => socket.close());
  const before = await socket.generation();
  for (const family of ['IPv4', 'IPv6'] as const) t.is(await modeIn(netns).usable(family), undefined);
  t.is((await socket.generation()).id, before.id, 'no transaction was made');
  t.is(await netns.run('nft', ['list', 'ruleset']), '');
});

test('a trial says what the kernel has not, and where; a transaction that is refused changes nothing', async (t) => {
  const netns = await createTestNetns(t, 'refused');
  const socket = openNftSocket(netns.path);
  t.teardown(() => socket.close());
  const wrong = (rule: Rule) => {
    const batch = new NftBatch('ip', 'wrong');
    batch.addTable('');
    batch.addChain({ name: 'c', base: { type: 'nat', hook: 'prerouting', priority: -100 } });
    batch.addRule('c', rule);
    return batch;
  };
  const noSet: Rule = { statements: [{ kind: 'in-set', fields: ['saddr'], set: 'none' }] };
  const misplaced: Rule = { statements: [{ kind: 'masquerade' }] };
  await t.throwsAsync(socket.commit(wrong(noSet).finishTrial()), { message: 'netlink: add rule to c: ENOENT' });
  await t.notThrowsAsync(socket.commit(wrong({ statements: [{ kind: 'drop' }] }).finishTrial()));
  for (const rule of [noSet, misplaced])
    await t.throwsAsync(socket.commit(wrong(rule).finish()), { name: 'NetlinkError' });
  await t.throwsAsync(socket.commit(wrong({ statements: [{ kind: 'jump', chain: 'nowhere' }] }).finish()), {
    message: 'netlink: add rule to c: ENOENT',
  });
  t.is(await netns.run('nft', ['list', 'ruleset']), '');
});

test('the table written by netlink is the one that nft makes of its text, in both families; and it is read back as what was written', async (t) => {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    const family = scenario.family ?? 'IPv4';
    const netns = await createTestNetns(t, 'text');
    const snapshot = snapshotOf(scenario.services, scenario.slices, family);
    const node = { ...NODE_OPTIONS, ...scenario.options };
    t.true((await proxierIn(t, netns, family).sync(snapshot, NOTHING, full(node))).wrote);
    t.false((await proxierIn(t, netns, family).sync(snapshot, NOTHING, full(node))).wrote, `${name}: again`);
    const ours = await netns.run('nft', ['list', 'ruleset']);
    await netns.run('nft', ['flush', 'ruleset']);
    await netns.run('nft', ['-f', '-'], { input: await modeIn(netns).renderText!(snapshot, node) });
    t.deepEqual(linesOf(ours), linesOf(await netns.run('nft', ['list', 'ruleset'])), name);
  }
});

for (const family of ['IPv4', 'IPv6'] as const)
  test(`${family}: after every random change the kernel holds what a full render would write`, async (t) => {
    const netns = await createTestNetns(t, 'random');
    const cluster = createRandomCluster(family === 'IPv4' ? 11 : 12, family);
    const proxier = proxierIn(t, netns, family);
    await proxier.sync(cluster.tracker.take().snapshot, NOTHING, full());
    let partial = 0;
    for (let step = 0; step < 150; step++) {
      for (let changes = 0; changes <= step % 3; changes++) cluster.change();
      const { snapshot, dirty } = cluster.tracker.take();
      const report = await proxier.sync(snapshot, dirty, { node: NODE_OPTIONS, full: false });
      if (report.kind === 'partial') partial++;
      const check = proxierIn(t, netns, family);
      t.false((await check.sync(snapshot, NOTHING, full())).wrote, `step ${step}`);
      await check.close?.();
    }
    t.is(partial, 150, 'none of the changes was refused');
  });

test('R9: a restart with unchanged services writes nothing: the generation of the ruleset stays, and so does what clients are remembered', async (t) => {
  const netns = await createTestNetns(t, 'restart');
  const snapshot = snapshotOf(
    [serviceOf('ns/web', '10.96.0.1'), serviceOf('ns/sticky', '10.96.0.2', { sessionAffinity: 'ClientIP' })],
    [sliceOf('ns/web', ['10.244.0.1', '10.244.0.2']), sliceOf('ns/sticky', ['10.244.0.3'])],
  );
  await proxierIn(t, netns).sync(snapshot, NOTHING, full());
  const [, set] = /set (affinity-\S+)/.exec(await netns.run('nft', ['list', 'ruleset']))!;
  await netns.run('nft', ['add', 'element', 'ip', 'kube-proxy', set!, '{ 10.244.0.9 }']);
  const socket = openNftSocket(netns.path);
  t.teardown(() => socket.close());
  const before = await socket.generation();
  t.false((await proxierIn(t, netns).sync(snapshot, NOTHING, full())).wrote);
  t.is((await socket.generation()).id, before.id);
  t.regex(await netns.run('nft', ['list', 'set', 'ip', 'kube-proxy', set!]), /10\.244\.0\.9/);
});

test('a full sync repairs exactly what others changed, and removes what they added', async (t) => {
  const netns = await createTestNetns(t, 'repair');
  const services = [
    serviceOf('ns/web', '10.96.0.1'),
    serviceOf('ns/sticky', '10.96.0.2', { sessionAffinity: 'ClientIP' }),
  ];
  const slices = [sliceOf('ns/web', ['10.244.0.1', '10.244.0.2']), sliceOf('ns/sticky', ['10.244.0.3', '10.244.0.4'])];
  const snapshot = snapshotOf(services, slices);
  const proxier = proxierIn(t, netns);
  await proxier.sync(snapshot, NOTHING, full());
  const right = linesOf(await netns.run('nft', ['list', 'ruleset']));
  const [, sticky] = /chain (service-\S+sticky\S*)/.exec(await netns.run('nft', ['list', 'ruleset']))!;
  const damages = [
    'flush chain ip kube-proxy services',
    'flush map ip kube-proxy service-endpoints',
    'delete element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 }',
    'add element ip kube-proxy cluster-ips { 10.96.9.9 }',
    'insert rule ip kube-proxy services drop',
    'add rule ip kube-proxy masquerading ip saddr { 1.2.3.4, 1.2.3.5 } drop',
    'add chain ip kube-proxy stranger',
    'add set ip kube-proxy strange { type ipv4_addr; }',
    `flush chain ip kube-proxy ${sticky}`,
    'delete table ip kube-proxy',
    'flush ruleset',
    'delete table ip kube-proxy; add table ip kube-proxy; add chain ip kube-proxy services',
  ];
  for (const damage of damages) {
    await netns.run('nft', [damage]);
    t.true((await proxier.sync(snapshot, NOTHING, full())).wrote, damage);
    t.deepEqual(linesOf(await netns.run('nft', ['list', 'ruleset'])), right, damage);
  }
});

test('a change that finds the table gone makes it whole again at once', async (t) => {
  const netns = await createTestNetns(t, 'gone');
  const proxier = proxierIn(t, netns);
  const services = [serviceOf('ns/web', '10.96.0.1')];
  await proxier.sync(snapshotOf(services, [sliceOf('ns/web', ['10.244.0.1'])]), NOTHING, full());
  t.false(await proxier.isFlushed());
  await netns.run('nft', ['flush', 'ruleset']);
  t.true(await proxier.isFlushed());
  const changed = snapshotOf(services, [sliceOf('ns/web', ['10.244.0.2'])]);
  const report = await proxier.sync(changed, new Set(['ns/web']), { node: NODE_OPTIONS, full: false });
  t.is(report.kind, 'full');
  t.regex(await netns.run('nft', ['list', 'ruleset']), /10\.244\.0\.2 \. 8080/);
});

test('the monitor tells of what others do to our table, and of nothing else', async (t) => {
  const netns = await createTestNetns(t, 'monitor');
  const proxier = proxierIn(t, netns);
  const services = [serviceOf('ns/web', '10.96.0.1')];
  await proxier.sync(snapshotOf(services, [sliceOf('ns/web', ['10.244.0.1'])]), NOTHING, full());
  const controller = new AbortController();
  let told = 0;
  const watching = proxier.watchTampering!(controller.signal, () => told++);
  const settle = () => new Promise((resolve) => setTimeout(resolve, 100));
  await settle();
  await netns.run('nft', [
    'add table ip kube-proxy6; add table ip6 kube-proxy; add table inet other; delete table inet other',
  ]);
  const other = snapshotOf(services, [sliceOf('ns/web', ['10.244.0.2'])]);
  await proxier.sync(other, new Set(['ns/web']), { node: NODE_OPTIONS, full: false });
  const many = Array.from({ length: 3000 }, (_, index) => `10.245.${index >> 8}.${index & 255}`);
  const big = snapshotOf(services, [sliceOf('ns/web', many)]);
  await proxier.sync(big, new Set(['ns/web']), { node: NODE_OPTIONS, full: false });
  await settle();
  t.is(told, 0, 'our own changes, small and big, and those of other tables');
  await netns.run('nft', ['delete element ip kube-proxy cluster-ips { 10.96.0.1 }']);
  await eventually('it is told', () => told > 0);
  controller.abort();
  await watching;
});

test('rules that somebody flushes are back by the monitor; the service answers again', async (t) => {
  const world = await createWorld(t);
  const sources = createSources();
  sources.services.put(serviceOf('ns/web', '10.96.0.10'));
  sources.endpointSlices.put(sliceOf('ns/web', ['10.244.0.11']));
  for (const source of Object.values(sources)) source.finishListing();
  startProxy(t, world.node.path, sources, {
    mode: 'nftables',
    'nftables.minSyncPeriod': '1ms',
    // No look now and then: what is repaired was told of.
    'nftables.syncPeriod': '10m',
  });
  const ask = () => world.pods[1].ask({ protocol: 'tcp', host: '10.96.0.10', port: 80, timeoutMs: 300 });
  await eventually('it answers', async () => (await ask()).startsWith('pod1'));
  for (const damage of ['flush ruleset', 'flush chain ip kube-proxy nat-prerouting']) {
    await world.node.run('nft', [damage]);
    await eventually(`it answers again after: ${damage}`, async () => (await ask()).startsWith('pod1'));
  }
  t.pass();
});

test('R11: a table of somebody else that this nft cannot read is neither read nor touched', async (t) => {
  const netns = await createTestNetns(t, 'newer');
  const socket = openNftSocket(netns.path);
  t.teardown(() => socket.close());
  await socket.commit(strangersTable());
  const { code } = await netns.run('nft', ['list', 'ruleset']).then(
    () => ({ code: 0 }),
    () => ({ code: 1 }),
  );
  t.log(code === 0 ? 'this nft reads the table' : 'nft list ruleset fails on it');
  const mode = modeIn(netns);
  t.is(await mode.usable('IPv4'), undefined);
  const snapshot = snapshotOf([serviceOf('ns/web', '10.96.0.1')], [sliceOf('ns/web', ['10.244.0.1'])]);
  const proxier = proxierIn(t, netns);
  t.true((await proxier.sync(snapshot, NOTHING, full())).wrote);
  t.false((await proxierIn(t, netns).sync(snapshot, NOTHING, full())).wrote);
  await netns.run('nft', ['delete', 'table', 'ip', 'kube-proxy']);
  t.true((await proxier.sync(snapshot, NOTHING, full())).wrote);
  await mode.cleanup('IPv4');
  await mode.cleanup('IPv4');
  t.false(await tableExists(socket, 'ip', 'kube-proxy'));
  t.true(await hasAnyRule(socket, 'ip', 'newer', 'c'));
});

/** A concatenation of what a map gave: the kernel takes it, nft 1.0 ends with a failed assertion when it lists it. */
function strangersTable(): Transaction {
  const batch = new NftBatch('ip', 'newer');
  batch.addTable('of somebody else');
  const map = { name: 'm', key: ['address'], data: ['address'] } as const;
  const set = { name: 's', key: ['address', 'port'] } as const;
  for (const one of [map, set]) batch.addSet(one);
  batch.addChain({ name: 'c' });
  const { bytes, operations } = batch.finish();
  const rule = new MessageWriter();
  rule.begin(messageType(NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE), NLM_F_REQUEST | NLM_F_CREATE, 90, 2);
  rule.text(NFTA_RULE_TABLE, 'newer');
  rule.text(NFTA_RULE_CHAIN, 'c');
  rule.nest(NFTA_RULE_EXPRESSIONS);
  loadPayload(rule, 0, HEADER_NETWORK, 12, 4);
  lookup(rule, 0, 'm', 0);
  loadPayload(rule, 1, HEADER_NETWORK, 16, 4);
  lookup(rule, 0, 's');
  rule.unnest();
  rule.end();
  rule.begin(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 91, 0, NFNL_SUBSYS_NFTABLES);
  rule.end();
  const begin = new MessageWriter();
  begin.begin(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, 0, NFNL_SUBSYS_NFTABLES);
  begin.end();
  // The batch without its end, the rule, the end.
  const end = begin.finish().length;
  return { bytes: Buffer.concat([bytes.subarray(0, bytes.length - end), rule.finish()]), operations };
}
