import test from 'ava';
import { removeProxyRules } from '../../../proxy/iptables/cleanup.ts';
import { createIptablesProxier } from '../../../proxy/iptables/proxier.ts';
import { renderIptablesText } from '../../../proxy/iptables/text.ts';
import { hasProgram, run } from '../../../src/linux/exec.ts';
import { createIptables, type Run } from '../../../src/netfilter/iptables.ts';
import { createNfacct } from '../../../src/netfilter/nfacct.ts';
import { parseIptablesSave, type SavedTables } from '../../../src/netfilter/tables.ts';
import { SCENARIOS } from '../../golden/proxy/scenarios.ts';
import { createTestNetns } from '../../support/netns.ts';
import { NODE_OPTIONS, snapshotOf } from '../../support/proxy.ts';

/** The same programs of one backend: `iptables-save` → `iptables-legacy-save`. */
const backend =
  (kind: 'nft' | 'legacy'): Run =>
  (program, args, options) =>
    run(program.replace('tables', `tables-${kind}`), args, options);

const RENDER = { hasRandomFully: true, isLargeCluster: false };

/** Letter for letter: what is spelled as the kernel gives it back needs no canonical form to be compared. */
function ownChains(tables: SavedTables): [string, string[]][] {
  return [...tables]
    .flatMap(([table, chains]) =>
      [...chains]
        .filter(([chain, { rules }]) => chain.startsWith('KUBE-') || rules.length > 0)
        .map(([chain, { rules }]): [string, string[]] => [`${table} ${chain}`, rules])
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    )
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

for (const kind of ['nft', 'legacy'] as const)
  for (const [name, { services, slices, family = 'IPv4', options }] of Object.entries(SCENARIOS)) {
    const title = `iptables-${kind}: the kernel takes every rule, and gives it back as we meant it: ${name}`;
    const real = hasProgram(`iptables-${kind}`) ? test : test.skip;
    real(title, async (t) => {
      const netns = await createTestNetns(t, `${kind}-${name.slice(0, 8)}`);
      for (const counter of [options?.invalidPacketCounter, options?.localhostNodePortCounter])
        if (counter) await createNfacct(netns.path).ensure(counter);
      const iptables = createIptables({ family, run: backend(kind), netns: netns.path });
      const snapshot = snapshotOf(services, slices, family);
      const node = { ...NODE_OPTIONS, ...options };
      const sync = () =>
        createIptablesProxier(iptables, {
          nfacct: options?.invalidPacketCounter ? createNfacct(netns.path) : undefined,
        }).sync(snapshot, new Set(), { node, full: true });
      t.like(await sync(), { kind: 'full', wrote: true });
      t.like(await sync(), { kind: 'full', wrote: false });
      // Another version may print something else: then the canonical form is what finds it unchanged, just above.
      if ((await netns.run(`iptables-${kind}`, ['--version'])).includes('v1.8.9')) {
        const text = await renderIptablesText(snapshot, { ...node, ...RENDER });
        t.deepEqual(ownChains(await iptables.save()), ownChains(parseIptablesSave(text)));
      }
      await removeProxyRules(iptables);
      for (const [table, chains] of await iptables.save())
        for (const [chain, { rules, policy }] of chains) {
          t.deepEqual(rules, [], `${table} ${chain}`);
          t.truthy(policy, `${table} ${chain} is left`);
        }
    });
  }
