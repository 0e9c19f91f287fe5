import test from 'ava';
import { renderIptablesText } from '../../../../proxy/iptables/text.ts';
import type { NodeRenderOptions } from '../../../../proxy/mode.ts';
import { renderRuleSetSteps } from '../../../../proxy/nftables/rule-set.ts';
import { ruleSetText } from '../../../../proxy/nftables/text.ts';
import type { ProxySnapshot } from '../../../../proxy/state/model.ts';
import { summarizeEnds } from '../../../../proxy/trace/ends.ts';
import type { Packet } from '../../../../proxy/trace/packet.ts';
import { readRulesSteps } from '../../../../proxy/trace/rules-text.ts';
import { walkPacket } from '../../../../proxy/trace/walk.ts';
import { runAtOnce } from '../../../../src/runtime/slices.ts';
import { NODE_OPTIONS, serviceOf, sliceOf, snapshotOf } from '../../../support/proxy.ts';
import { spellEnds } from '../../../support/proxy-oracle.ts';

const NODE: NodeRenderOptions = {
  ...NODE_OPTIONS,
  nodeIps: ['fd00::2'],
  localDetector: { kind: 'cidr', cidr: 'fd00:244::/56' },
};
const MODES: Record<string, (snapshot: ProxySnapshot) => Promise<string>> = {
  iptables: (snapshot) => renderIptablesText(snapshot, { ...NODE, hasRandomFully: true, isLargeCluster: false }),
  nftables: async (snapshot) => ruleSetText(runAtOnce(renderRuleSetSteps(snapshot, NODE))),
};

const SNAPSHOT = snapshotOf(
  [
    serviceOf('ns/six', 'fd00:96::1', { type: 'NodePort', ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }] }),
    serviceOf('ns/one', 'fd00:96::2'),
    serviceOf('ns/none', 'fd00:96::3'),
    serviceOf('ns/sticky', 'fd00:96::4', { sessionAffinity: 'ClientIP' }),
  ],
  ['six', 'sticky']
    .map((name) =>
      sliceOf(`ns/${name}`, ['fd00:244::a', { ip: 'fd00:244:1::b', nodeName: 'node-2' }], { addressType: 'IPv6' }),
    )
    .concat(sliceOf('ns/one', ['fd00:244::a'], { addressType: 'IPv6' })),
  'IPv6',
);

const POD = { source: 'fd00:244::9', inInterface: 'cni0' };
const OUTSIDE = { source: '2001:db8::9', inInterface: 'eth0' };
const CASES: [what: string, packet: Omit<Packet, 'protocol'>, ends: string[]][] = [
  [
    'a pod to a ClusterIP, spelled at length',
    { ...POD, destination: 'FD00:96:0:0::1', destinationPort: 80 },
    ['[fd00:244:1::b]:8080 0.500', '[fd00:244::a]:8080 0.500'],
  ],
  [
    'hairpin',
    { ...POD, source: 'fd00:244::a', destination: 'fd00:96::2', destinationPort: 80 },
    ['[fd00:244::a]:8080 masqueraded 1.000'],
  ],
  [
    'a node port from outside',
    { ...OUTSIDE, destination: 'fd00::2', destinationPort: 30080 },
    ['[fd00:244:1::b]:8080 masqueraded 0.500', '[fd00:244::a]:8080 masqueraded 0.500'],
  ],
  ['no endpoints', { ...POD, destination: 'fd00:96::3', destinationPort: 80 }, ['REJECT']],
  [
    'affinity, a newcomer',
    { ...POD, destination: 'fd00:96::4', destinationPort: 80 },
    ['[fd00:244:1::b]:8080 0.500', '[fd00:244::a]:8080 0.500'],
  ],
];

for (const [mode, render] of Object.entries(MODES))
  for (const [what, packet, ends] of CASES)
    test(`IPv6, ${mode}: ${what}`, async (t) => {
      const rulesets = runAtOnce(readRulesSteps('IPv6', await render(SNAPSHOT)));
      const host = { localAddresses: ['fd00::2'] };
      t.deepEqual(spellEnds(summarizeEnds(walkPacket(rulesets, { protocol: 'TCP', ...packet }, host))), ends);
    });
