import test from 'ava';
import { renderIptablesText } from '../../../../proxy/iptables/text.ts';
import { renderIpvsChains } from '../../../../proxy/ipvs/chains.ts';
import { renderIpvsSteps } from '../../../../proxy/ipvs/render.ts';
import { renderIpvsText } from '../../../../proxy/ipvs/text.ts';
import type { ModeName, NodeRenderOptions } from '../../../../proxy/mode.ts';
import { renderRuleSetSteps as renderNftRuleSetSteps } from '../../../../proxy/nftables/rule-set.ts';
import { ruleSetText } from '../../../../proxy/nftables/text.ts';
import type { ProxySnapshot } from '../../../../proxy/state/model.ts';
import { summarizeEnds } from '../../../../proxy/trace/ends.ts';
import type { Packet } from '../../../../proxy/trace/packet.ts';
import { readRulesSteps } from '../../../../proxy/trace/rules-text.ts';
import { walkPacket } from '../../../../proxy/trace/walk.ts';
import { runAtOnce } from '../../../../src/runtime/slices.ts';
import { NODE_OPTIONS, snapshotOf } from '../../../support/proxy.ts';
import { expectedEnds, type OracleWorld, spellEnds, waysInto } from '../../../support/proxy-oracle.ts';
import { type RandomService, randomService, ZONE } from '../../../support/proxy-random.ts';
import { createRandom } from '../../../support/random.ts';

const NODE_IP = '192.168.0.2';
const HOST = { localAddresses: [NODE_IP] };
const WORLDS = 40;

/** Mode ipvs binds them all to the host. */
function addressesOf({ service: { spec, status } }: RandomService): string[] {
  const ingress = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip, ipMode }) =>
    ip && ipMode !== 'Proxy' ? [ip] : [],
  );
  return [spec.clusterIP!, ...(spec.externalIPs ?? []), ...ingress];
}

/** Who sends: a pod that may be an endpoint itself, another pod, the node, a stranger. */
const SENDERS: Pick<Packet, 'source' | 'inInterface'>[] = [
  { source: '10.244.0.11', inInterface: 'cni0' },
  { source: '10.244.7.9', inInterface: 'cni0' },
  { source: NODE_IP },
  { source: '203.0.113.9', inInterface: 'eth0' },
  { source: '203.0.113.200', inInterface: 'eth0' },
];

const OPTIONS: [what: string, options: Partial<NodeRenderOptions>][] = [
  ['by cluster CIDR', {}],
  ['without a detector', { localDetector: { kind: 'none' } }],
  ['masqueradeAll', { masqueradeAll: true }],
];

const MODES: Partial<Record<ModeName, (snapshot: ProxySnapshot, node: NodeRenderOptions) => Promise<string>>> = {
  iptables: async (snapshot, node) =>
    renderIptablesText(snapshot, { ...node, hasRandomFully: true, isLargeCluster: false }),
  nftables: async (snapshot, node) => ruleSetText(runAtOnce(renderNftRuleSetSteps(snapshot, node))),
  ipvs: async (snapshot, node) => {
    const options = { ...node, scheduler: 'rr', hostAddresses: [NODE_IP], hasRandomFully: true };
    const wanted = runAtOnce(renderIpvsSteps(snapshot, options));
    return renderIpvsText(wanted, renderIpvsChains(wanted, 'IPv4', options), 'IPv4');
  },
};

for (const [mode, render] of Object.entries(MODES) as [ModeName, NonNullable<(typeof MODES)[ModeName]>][])
  for (const [what, options] of OPTIONS)
    test(`${mode}, ${what}: the ends of every packet are those of the oracle, in random worlds`, async (t) => {
      let packets = 0;
      for (let seed = 1; seed <= WORLDS; seed++) {
        const random = createRandom(seed);
        const made = Array.from({ length: 1 + random.below(5) }, (_, index) =>
          randomService(random, index, {
            localIps: ['10.244.0.11', '10.244.0.12'],
            remoteIps: ['10.244.1.11', '10.244.1.12', '10.244.1.13'],
          }),
        );
        const node = { ...NODE_OPTIONS, ...options, node: { ...NODE_OPTIONS.node, zone: ZONE } };
        const world: OracleWorld = {
          services: made.map(({ service }) => service),
          slices: made.flatMap(({ slices }) => slices),
          node,
          localAddresses: mode === 'ipvs' ? [NODE_IP, ...made.flatMap(addressesOf)] : [NODE_IP],
          mode,
        };
        const rulesets = runAtOnce(
          readRulesSteps('IPv4', await render(snapshotOf(world.services, world.slices), node)),
        );
        for (const { destination, port, protocol } of waysInto(world, NODE_IP))
          for (const sender of SENDERS) {
            const isOwn = sender.inInterface === undefined && world.localAddresses.includes(destination);
            const source = isOwn ? destination : sender.source;
            const packet = {
              ...sender,
              source,
              protocol: protocol as Packet['protocol'],
              destination,
              destinationPort: port,
            };
            const found = spellEnds(summarizeEnds(walkPacket(rulesets, packet, HOST)));
            const expected = expectedEnds(world, { source, protocol, destination, port });
            packets++;
            if (!expected.some((one) => one.join() === found.join()))
              t.deepEqual(found, expected[0], `seed ${seed}: ${source} to ${destination}:${port}/${protocol}`);
          }
      }
      t.true(packets > 1000, `${packets} packets`);
    });
