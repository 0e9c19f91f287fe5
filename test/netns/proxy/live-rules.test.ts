import test, { type ExecutionContext } from 'ava';
import type { ModeName } from '../../../proxy/mode.ts';
import { addressesOf, readLocalInterfaces } from '../../../proxy/node-addresses.ts';
import { summarizeEnds } from '../../../proxy/trace/ends.ts';
import { readLiveRules } from '../../../proxy/trace/live-rules.ts';
import type { Packet } from '../../../proxy/trace/packet.ts';
import { walkPacket } from '../../../proxy/trace/walk.ts';
import { run } from '../../../src/linux/exec.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns } from '../../support/netns.ts';
import { NODE_OPTIONS } from '../../support/proxy.ts';
import { BEHAVIOUR_NODE, NODE_IP } from '../../support/proxy-behaviours.ts';
import { expectedEnds, type OracleWorld, spellEnds, waysInto } from '../../support/proxy-oracle.ts';
import { type RandomService, randomService, randomSlices } from '../../support/proxy-random.ts';
import { createSources, startProxy } from '../../support/proxy-world.ts';
import { createRandom, type Random } from '../../support/random.ts';

const MODES: readonly ModeName[] = ['iptables', 'nftables'];
const SEED = 7;
const ROUNDS = 8;
const CHANGES_A_ROUND = 5;
const MOST_SERVICES = 12;

const POOL = { localIps: ['10.244.0.11', '10.244.0.12'], remoteIps: ['10.244.1.11', '10.244.1.12', '10.244.1.13'] };
const SENDERS: Pick<Packet, 'source' | 'inInterface'>[] = [
  { source: '10.244.0.11', inInterface: 'cni0' },
  { source: NODE_IP },
  { source: '203.0.113.9', inInterface: 'up0' },
  { source: '203.0.113.200', inInterface: 'up0' },
];

for (const mode of MODES)
  test.serial(
    `${mode}: after random changes, one at a time, the kernel's own rules lead where the oracle says`,
    async (t) => {
      const node = await createTestNetns(t, 'node');
      await node.ip('link', 'add', 'up0', 'type', 'bridge');
      await node.ip('addr', 'add', `${NODE_IP}/24`, 'dev', 'up0');
      await node.ip('link', 'set', 'up0', 'up');
      const sources = createSources();
      sources.nodes.put(BEHAVIOUR_NODE);
      for (const source of Object.values(sources)) source.finishListing();
      startProxy(t, node.path, sources, { mode, 'nftables.minSyncPeriod': '1ms', 'nftables.syncPeriod': '500ms' });

      const random = createRandom(SEED);
      const standing = new Map<number, RandomService>();
      const localAddresses = addressesOf(readLocalInterfaces(node.path));
      for (let round = 1; round <= ROUNDS; round++) {
        for (let change = 0; change < CHANGES_A_ROUND; change++) changeSomething(random, standing, sources);
        const world: OracleWorld = {
          services: [...standing.values()].map(({ service }) => service),
          slices: [...standing.values()].flatMap(({ slices }) => slices),
          node: { ...NODE_OPTIONS, nodeIps: [NODE_IP], node: { ...NODE_OPTIONS.node, zone: 'zone-a' } },
          localAddresses,
          mode,
        };
        let wrong: string[] = [];
        await eventually(`round ${round} of seed ${SEED}`, async () => {
          wrong = await differences(t, world, node.path);
          return wrong.length === 0;
        }).catch(() => t.deepEqual(wrong, [], `round ${round}`));
      }
      t.pass();
    },
  );

function changeSomething(
  random: Random,
  standing: Map<number, RandomService>,
  sources: ReturnType<typeof createSources>,
): void {
  const index = random.below(MOST_SERVICES);
  const known = standing.get(index);
  const what = random.pick(known ? (['slices', 'slices', 'service', 'gone'] as const) : (['service'] as const));
  if (known) for (const slice of known.slices) sources.endpointSlices.remove(slice);
  if (what === 'gone') {
    sources.services.remove(known!.service);
    standing.delete(index);
    return;
  }
  const made =
    what === 'slices'
      ? { service: known!.service, slices: randomSlices(random, known!.service, POOL) }
      : randomService(random, index, POOL);
  standing.set(index, made);
  sources.services.put(made.service);
  sources.endpointSlices.put(...made.slices);
}

async function differences(t: ExecutionContext, world: OracleWorld, netns: string): Promise<string[]> {
  const { rulesets, gaps } = await readLiveRules('IPv4', { run, netns });
  t.deepEqual(gaps, []);
  const { localAddresses } = world;
  return waysInto(world, NODE_IP).flatMap(({ destination, port, protocol }) =>
    SENDERS.flatMap(({ source, inInterface }) => {
      const packet = {
        source,
        inInterface,
        protocol: protocol as Packet['protocol'],
        destination,
        destinationPort: port,
      };
      const found = spellEnds(summarizeEnds(walkPacket(rulesets, packet, { localAddresses })));
      const expected = expectedEnds(world, { source, protocol, destination, port });
      if (expected.some((one) => one.join() === found.join())) return [];
      return [
        `${source} to ${destination}:${port}/${protocol}: ${found.join(', ')}; expected ${expected.join(' or ')}`,
      ];
    }),
  );
}
