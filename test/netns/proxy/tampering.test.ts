import test from 'ava';
import { createIptablesProxier } from '../../../proxy/iptables/proxier.ts';
import { hasProgram, run } from '../../../src/linux/exec.ts';
import { createIptables } from '../../../src/netfilter/iptables.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';
import { NODE_OPTIONS, serviceOf, sliceOf, snapshotOf } from '../../support/proxy.ts';
import { createSources, startProxy } from '../../support/proxy-world.ts';

const SERVICE = serviceOf('ns/a', '10.96.0.1');
const SLICE = sliceOf('ns/a', ['10.244.0.2', '10.244.0.3']);

/** So long that no look for the canary falls into a test: what is repaired was told of by the kernel. */
const NO_CANARY = { 'iptables.syncPeriod': '10m' };

async function endpointChain(iptables: (...args: string[]) => Promise<string>): Promise<string> {
  return /KUBE-SEP-\w+/.exec(await iptables('-t', 'nat', '-S'))![0];
}

for (const [what, tamper] of [
  [
    'deletes a rule of an endpoint',
    async (iptables) => iptables('-t', 'nat', '-D', await endpointChain(iptables), '1'),
  ],
  ['empties a chain', (iptables) => iptables('-F', 'KUBE-FORWARD')],
  ['deletes a jump', (iptables) => iptables('-t', 'nat', '-F', 'PREROUTING')],
  ['puts a rule into a chain of ours', (iptables) => iptables('-t', 'nat', '-I', 'KUBE-SERVICES', '-j', 'RETURN')],
  ['flushes all tables', (iptables) => iptables('-t', 'nat', '-F')],
] as [string, (iptables: (...args: string[]) => Promise<string>) => Promise<string>][])
  test(`another program ${what}: repaired at once, and nothing that it does elsewhere counts`, async (t) => {
    const netns = await createTestNetns(t, 'tamper');
    const iptables = (...args: string[]) => netns.run('iptables', args);
    const sources = createSources();
    sources.services.put(SERVICE);
    sources.endpointSlices.put(SLICE);
    for (const source of Object.values(sources)) source.finishListing();
    const { restores } = startProxy(t, netns.path, sources, NO_CANARY);
    await eventually('the first sync', () => restores.length === 2);
    await settled();
    const before = await rulesOf(netns);
    await iptables('-A', 'FORWARD', '-s', '172.17.0.0/16', '-j', 'ACCEPT');
    await iptables('-N', 'STRANGER');
    await iptables('-D', 'FORWARD', '-s', '172.17.0.0/16', '-j', 'ACCEPT');
    await iptables('-X', 'STRANGER');
    await settled();
    t.is(restores.length, 2, 'not our chains');
    await tamper(iptables);
    await eventually('the repair', () => restores.length > 2);
    await eventually('the rules are back', async () => (await rulesOf(netns)).join() === before.join());
    const count = restores.length;
    await settled();
    t.is(restores.length, count, 'our own repair is no tampering');
  });

async function rulesOf(netns: TestNetns): Promise<string[]> {
  const tables = await createIptables({ family: 'IPv4', run, netns: netns.path }).save();
  return [...tables]
    .flatMap(([table, chains]) =>
      [...chains].flatMap(([chain, { rules }]) => rules.map((rule) => `${table} ${chain} ${rule}`)),
    )
    .sort();
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 250));

const legacy = hasProgram('iptables-legacy') ? test : test.skip;
legacy('the legacy kind tells nobody: the look that finds the canary counts rules and jumps', async (t) => {
  const netns = await createTestNetns(t, 'legacy');
  const iptables = createIptables({
    family: 'IPv4',
    run: (program, args, options) => run(program.replace('tables', 'tables-legacy'), args, options),
    netns: netns.path,
  });
  const proxier = createIptablesProxier(iptables);
  const snapshot = snapshotOf([SERVICE], [SLICE]);
  const sync = () => proxier.sync(snapshot, new Set(), { node: NODE_OPTIONS, full: true });
  await sync();
  t.false(await proxier.isFlushed());
  const change = (...args: string[]) => netns.run('iptables-legacy', args);
  for (const tamper of [
    async () => change('-t', 'nat', '-D', await endpointChain(change), '1'),
    () => change('-D', 'OUTPUT', '1'),
    () => change('-t', 'nat', '-I', 'KUBE-SERVICES', '-j', 'RETURN'),
  ]) {
    await tamper();
    t.true(await proxier.isFlushed());
    t.like(await sync(), { wrote: true });
    t.false(await proxier.isFlushed());
  }
  await change('-A', 'FORWARD', '-j', 'ACCEPT');
  t.false(await proxier.isFlushed());
});
