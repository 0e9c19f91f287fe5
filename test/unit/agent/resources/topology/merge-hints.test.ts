import test from 'ava';
import type { ResourceHints, TopologyHint } from '../../../../../agent/resources/topology/hint-provider.ts';
import {
  mergeHints,
  type NumaMachine,
  type TopologyPolicy,
} from '../../../../../agent/resources/topology/merge-hints.ts';
import {
  countNumaNodes,
  forEachNumaSubset,
  isNarrower,
  type NumaMask,
  numaMask,
  numaNodesOf,
} from '../../../../../agent/resources/topology/numa-mask.ts';

type Policy = Exclude<TopologyPolicy, 'none'>;
const two: NumaMachine = { nodes: [0, 1] };
const hint = (nodes: number[] | undefined, preferred: boolean): TopologyHint => ({
  ...(nodes && { numaNodes: numaMask(nodes) }),
  preferred,
});
const of = (resources: Record<string, TopologyHint[] | undefined>): ResourceHints => new Map(Object.entries(resources));
const shown = ({ hint: { numaNodes, preferred }, admit }: ReturnType<typeof mergeHints>) =>
  `${numaNodes === undefined ? 'any' : numaNodesOf(numaNodes).join('+')}${preferred ? '!' : ''}${admit ? '' : ' refused'}`;

const CASES: [title: string, providers: ResourceHints[], bestEffort: string, restricted: string, single: string][] = [
  ['nobody has anything to say', [of({}), of({})], '0+1!', '0+1!', 'any!'],
  ['one resource does not mind', [of({ cpu: undefined })], '0+1!', '0+1!', 'any!'],
  ['one resource can be had nowhere', [of({ cpu: [] })], '0+1', '0+1 refused', 'any refused'],
  [
    'one provider, either node',
    [of({ cpu: [hint([0], true), hint([1], true), hint([0, 1], false)] })],
    '0!',
    '0!',
    '0!',
  ],
  [
    'they agree on node 1',
    [
      of({ cpu: [hint([0], true), hint([1], true), hint([0, 1], false)] }),
      of({ nic: [hint([1], true), hint([0, 1], false)] }),
    ],
    '1!',
    '1!',
    '1!',
  ],
  [
    'they want different nodes',
    [of({ cpu: [hint([0], true), hint([0, 1], false)] }), of({ nic: [hint([1], true), hint([0, 1], false)] })],
    '0',
    '0 refused',
    'any refused',
  ],
  ['both nodes are needed', [of({ cpu: [hint([0, 1], true)] })], '0+1!', '0+1!', 'any refused'],
  [
    'preferred, but not the same nodes',
    [of({ cpu: [hint([0, 1], true)] }), of({ nic: [hint([1], true)] })],
    '1',
    '1 refused',
    'any refused',
  ],
];
for (const [title, providers, bestEffort, restricted, single] of CASES)
  test(`merged: ${title}`, (t) => {
    t.is(shown(mergeHints('best-effort', two, providers)), bestEffort);
    t.is(shown(mergeHints('restricted', two, providers)), restricted);
    t.is(shown(mergeHints('single-numa-node', two, providers)), single);
  });

test('on a machine of one node single-numa-node has no affinity to give', (t) => {
  const machine = { nodes: [0] };
  t.is(shown(mergeHints('single-numa-node', machine, [of({ cpu: [hint([0], true)] })])), 'any!');
  t.is(shown(mergeHints('restricted', machine, [of({ cpu: [hint([0], true)] })])), '0!');
});

test('node numbers need not be dense', (t) => {
  const machine = { nodes: [0, 8, 252] };
  const providers = [
    of({ cpu: [hint([8], true), hint([0, 8], false)] }),
    of({ gpu: [hint([8], true), hint([252], true)] }),
  ];
  t.is(shown(mergeHints('single-numa-node', machine, providers)), '8!');
});

test('prefer-closest-numa-nodes: of two nodes that are needed, near ones', (t) => {
  const distances = [
    [10, 30, 20, 20],
    [30, 10, 20, 12],
    [20, 20, 10, 30],
    [20, 12, 30, 10],
  ];
  const all = [hint([0, 1], true), hint([0, 2], true), hint([1, 3], true)];
  t.is(shown(mergeHints('best-effort', { nodes: [0, 1, 2, 3] }, [of({ cpu: all })])), '0+1!');
  t.is(shown(mergeHints('best-effort', { nodes: [0, 1, 2, 3], distances }, [of({ cpu: all })])), '1+3!');
});

/** The merge as the kubelet does it: every combination of one hint a resource, the best kept. */
function mergeByCombinations(policy: Policy, { nodes }: NumaMachine, providers: ResourceHints[]) {
  const all = numaMask(nodes);
  let lists = providers.flatMap((hints) =>
    hints.size === 0
      ? [[hint(undefined, true)]]
      : [...hints.values()].map((list) =>
          list === undefined ? [hint(undefined, true)] : list.length === 0 ? [hint(undefined, false)] : [...list],
        ),
  );
  if (policy === 'single-numa-node')
    lists = lists.map((list) =>
      list.filter(
        ({ numaNodes, preferred }) => preferred && (numaNodes === undefined || countNumaNodes(numaNodes) === 1),
      ),
    );
  const target = Math.max(
    0,
    ...lists.map((list) => {
      const counts = list.flatMap(({ numaNodes }) => (numaNodes === undefined ? [] : [countNumaNodes(numaNodes)]));
      return counts.length > 0 ? Math.min(...counts) : 0;
    }),
  );
  let best: { mask: NumaMask; preferred: boolean } | undefined;
  const consider = (mask: NumaMask, preferred: boolean) => {
    if (mask === 0n) return;
    if (!best) best = { mask, preferred };
    else if (best.preferred !== preferred) best = preferred ? { mask, preferred } : best;
    else if (isBetter(mask, best.mask, preferred)) best = { mask, preferred };
  };
  const isBetter = (mask: NumaMask, than: NumaMask, preferred: boolean) => {
    const [count, current] = [countNumaNodes(mask), countNumaNodes(than)];
    if (preferred || current > target) return isNarrower(mask, than);
    if (current === target) return count === target && isNarrower(mask, than);
    if (count > target) return false;
    if (count === target) return true;
    return count === current ? isNarrower(mask, than) : count > current;
  };
  const walk = (index: number, chosen: TopologyHint[]) => {
    if (index < lists.length) {
      for (const one of lists[index]!) walk(index + 1, [...chosen, one]);
      return;
    }
    const masks = chosen.flatMap(({ numaNodes }) => (numaNodes === undefined ? [] : [numaNodes]));
    const preferred = chosen.every((one) => one.preferred) && masks.every((mask) => mask === masks[0]);
    consider(
      masks.reduce((left, right) => left & right, all),
      preferred,
    );
  };
  walk(0, []);
  const { mask, preferred } = best ?? { mask: all, preferred: false };
  const isAny = policy === 'single-numa-node' && mask === all;
  return shown({
    hint: { ...(!isAny && { numaNodes: mask }), preferred },
    admit: policy === 'best-effort' || preferred,
  });
}

test('the merge gives what walking through all combinations gives, on random hints', (t) => {
  let seed = 11;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let round = 0; round < 600; round++) {
    const machine = { nodes: Array.from({ length: 1 + random(4) }, (_, index) => index) };
    const subsets: NumaMask[] = [];
    forEachNumaSubset(machine.nodes, (mask) => subsets.push(mask));
    const list = (): TopologyHint[] | undefined =>
      random(8) === 0
        ? undefined
        : subsets.filter(() => random(2) === 0).map((numaNodes) => ({ numaNodes, preferred: random(2) === 0 }));
    const providers = Array.from({ length: 1 + random(3) }, () =>
      of(Object.fromEntries(Array.from({ length: random(3) }, (_, index) => [`r${index}`, list()]))),
    );
    for (const policy of ['best-effort', 'restricted', 'single-numa-node'] as const)
      t.is(shown(mergeHints(policy, machine, providers)), mergeByCombinations(policy, machine, providers));
  }
});

test('eight nodes and five resources that could be anywhere: not one combination after another', (t) => {
  const nodes = [0, 1, 2, 3, 4, 5, 6, 7];
  const hints: TopologyHint[] = [];
  forEachNumaSubset(nodes, (numaNodes) => hints.push({ numaNodes, preferred: countNumaNodes(numaNodes) === 2 }));
  const providers = Array.from({ length: 5 }, (_, index) => of({ [`r${index}`]: hints }));
  mergeHints('restricted', { nodes }, providers);
  // The combinations would be a million million: that would never end.
  t.is(shown(mergeHints('restricted', { nodes }, providers)), '0+1!');
});
