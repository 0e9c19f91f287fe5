import { execFileSync } from 'node:child_process';
import test from 'ava';
import { run } from '../../../src/linux/exec.ts';
import { readTableSkeleton, removeEmptyTables } from '../../../src/netfilter/empty-tables.ts';
import { createIptables, type Iptables } from '../../../src/netfilter/iptables.ts';
import { createNft } from '../../../src/netfilter/nft.ts';
import { canonicalRule } from '../../../src/netfilter/rule.ts';
import { buildChainRemoval } from '../../../src/netfilter/transaction.ts';
import { createFakeIptables } from '../../fakes/iptables.ts';

const NETNS = `berth-ipt-${process.pid}`;
const netns = `/run/netns/${NETNS}`;

test.before(() => {
  execFileSync('/bin/ip', ['netns', 'add', NETNS]);
});
test.after.always(() => {
  execFileSync('/bin/ip', ['netns', 'del', NETNS]);
});

const ENDPOINT_RULE =
  '-m comment --comment ns/s:p -m recent --name KUBE-SEP-A --set -m tcp -p tcp -j DNAT --to-destination 10.1.1.1:80';

function contract(name: string, create: () => Iptables) {
  test.serial(`${name}: chain lines create and empty, other chains stay`, async (t) => {
    const iptables = create();
    await iptables.restore([
      {
        table: 'nat',
        chains: ['KUBE-SERVICES', 'KUBE-SEP-A', 'FOREIGN'],
        commands: [
          '-A KUBE-SEP-A -s 10.1.1.1 -j RETURN',
          `-A KUBE-SEP-A ${ENDPOINT_RULE}`,
          '-A FOREIGN -j RETURN',
          '-A KUBE-SERVICES -j KUBE-SEP-A',
          '-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        ],
      },
    ]);
    let nat = (await iptables.save('nat')).get('nat')!;
    t.deepEqual(nat.get('KUBE-SEP-A')!.rules.map(canonicalRule), [
      canonicalRule('-s 10.1.1.1 -j RETURN'),
      canonicalRule(ENDPOINT_RULE),
    ]);
    await iptables.restore([{ table: 'nat', chains: ['KUBE-SERVICES', 'KUBE-SEP-A'], commands: ['-X KUBE-SEP-A'] }]);
    nat = (await iptables.save('nat')).get('nat')!;
    t.deepEqual(nat.get('KUBE-SERVICES')!.rules, []);
    t.deepEqual(nat.get('FOREIGN')!.rules, ['-j RETURN']);
    t.false(nat.has('KUBE-SEP-A'));
    t.true(await iptables.chainExists('nat', 'KUBE-SERVICES'));
    t.false(await iptables.chainExists('nat', 'KUBE-SEP-A'));
  });

  test.serial(`${name}: a transaction with a wrong line changes nothing`, async (t) => {
    const iptables = create();
    const before = await iptables.save('nat');
    await t.throwsAsync(
      iptables.restore([{ table: 'nat', chains: ['KUBE-NEW'], commands: ['-A KUBE-NEW -j KUBE-NOWHERE'] }]),
    );
    await t.throwsAsync(
      iptables.restore([{ table: 'nat', chains: [], commands: ['-X KUBE-SERVICES'] }]),
      undefined,
      'in use',
    );
    await t.throwsAsync(iptables.restore([{ table: 'nat', chains: [], commands: ['-D PREROUTING -j NOPE'] }]));
    t.deepEqual(await iptables.save('nat'), before);
  });

  test.serial(`${name}: removal takes own chains and jumps`, async (t) => {
    const iptables = create();
    const nat = (await iptables.save('nat')).get('nat')!;
    await iptables.restore([
      buildChainRemoval('nat', nat, (chain) => chain.startsWith('KUBE-') || chain === 'FOREIGN'),
    ]);
    const left = (await iptables.save('nat')).get('nat')!;
    t.deepEqual(
      [...left].filter(([, chain]) => !chain.policy || chain.rules.length > 0),
      [],
    );
  });
}

const fakes = createFakeIptables();
contract('fake', () => fakes);
contract('real', () => createIptables({ family: 'IPv4', run, netns }));

test.serial('real: emptied tables vanish, a table that stood there before stays', async (t) => {
  const nft = createNft({ run, netns });
  const v4 = createIptables({ family: 'IPv4', run, netns });
  const v6 = createIptables({ family: 'IPv6', run, netns });
  const ruleset = async () => (await run('nft', ['list', 'ruleset'], { netns })).stdout;
  await removeEmptyTables(nft);
  t.is(await ruleset(), '');
  await v4.restore([{ table: 'filter', chains: [], commands: ['-A INPUT -j ACCEPT'] }]);
  const before = { text: await ruleset(), skeleton: await readTableSkeleton(nft) };
  t.deepEqual(before.skeleton, { 'ip filter': ['INPUT'] });
  t.deepEqual(await nft.tables(), [{ family: 'ip', name: 'filter' }]);
  for (const iptables of [v4, v6])
    for (const table of ['filter', 'nat', 'mangle'] as const) {
      const hook = 'OUTPUT';
      await iptables.restore([{ table, chains: ['KUBE-X'], commands: [`-I ${hook} -j KUBE-X`] }]);
      const saved = (await iptables.save(table)).get(table)!;
      await iptables.restore([buildChainRemoval(table, saved, (chain) => chain === 'KUBE-X')]);
    }
  t.not(await ruleset(), before.text, 'iptables-nft leaves empty tables');
  await removeEmptyTables(nft, before.skeleton);
  t.is(await ruleset(), before.text);
});

test.serial('real: random-fully is known', async (t) => {
  t.true(await createIptables({ family: 'IPv4', run, netns }).hasRandomFully());
});
