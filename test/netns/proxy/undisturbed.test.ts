import test, { type ExecutionContext } from 'ava';
import type { ModeName } from '../../../proxy/mode.ts';
import { eventually } from '../../support/eventually.ts';
import { holdConnections, serveEcho } from '../../support/held-connections.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { BEHAVIOUR_NODE, NODE_IP } from '../../support/proxy-behaviours.ts';
import { type RandomService, randomService, randomSlices } from '../../support/proxy-random.ts';
import { createSources, createWorld, type Sources, startProxy } from '../../support/proxy-world.ts';
import { createRandom, type Random } from '../../support/random.ts';

const isFull = process.env['BERTH_TEST_FULL'] === '1';
const MODES: readonly ModeName[] = ['iptables', 'nftables', ...(isFull ? (['userspace'] as const) : [])];
/** A thousand take a busy machine a minute. */
const CHANGES = isFull ? 1000 : 200;
const BATCH = 50;
const SEED = 11;
const OTHERS = 40;
const CONNECTIONS = 6;
const ECHO_PORT = 8090;
const POOL = { localIps: ['10.244.0.101', '10.244.0.102'], remoteIps: ['10.244.1.11', '10.244.1.12'] };

if (!isFull)
  test.skip('userspace: random changes of other services lose no connection (only with --full)', (t) => t.pass());

for (const mode of MODES)
  test.serial(`${mode}: ${CHANGES} random changes of other services lose no connection, old or new`, async (t) => {
    const world = await createWorld(t);
    for (const pod of world.podPaths) await serveEcho(t, pod, ECHO_PORT);
    const sources = createSources();
    sources.nodes.put(BEHAVIOUR_NODE);
    sources.services.put(
      serviceOf('kept/web', '10.96.200.1', {
        type: 'NodePort',
        ports: [{ port: 80, nodePort: 32_080, protocol: 'TCP' }],
      }),
    );
    sources.endpointSlices.put(
      sliceOf('kept/web', ['10.244.0.11', '10.244.0.12'], {
        ports: [{ name: '', port: ECHO_PORT, protocol: 'TCP' }],
      }),
    );
    for (const source of Object.values(sources)) source.finishListing();
    startProxy(t, world.node.path, sources, { mode, 'nftables.minSyncPeriod': '1ms' });
    const ask = { protocol: 'tcp', host: NODE_IP, port: 32_080, timeoutMs: 300 } as const;
    // The echo says nothing by itself: a connection that stands is one that does not fail.
    await eventually('the service answers', async () => (await world.client.ask(ask)) === 'TIMEOUT');

    const held = await Promise.all([
      holdConnections(t, world.outside.path, { host: NODE_IP, port: 32_080, count: CONNECTIONS }),
      holdConnections(t, world.podPaths[0]!, { host: '10.96.200.1', port: 80, count: CONNECTIONS }),
    ]);
    await changeOthers(sources, createRandom(SEED));
    await theyAreWritten(t, sources, world.client);
    for (const one of held) {
      const { exchanged, opened, lost } = await one.end();
      t.deepEqual(lost, []);
      t.true(exchanged > 200, `${exchanged} bytes came back`);
      t.true(opened > 2 * CONNECTIONS, `${opened} connections were opened`);
    }
  });

async function changeOthers(sources: Sources, random: Random): Promise<void> {
  const standing = new Map<number, RandomService>();
  for (let change = 1; change <= CHANGES; change++) {
    const index = random.below(OTHERS);
    const known = standing.get(index);
    if (known) for (const slice of known.slices) sources.endpointSlices.remove(slice);
    if (known && random.isTrue(0.2)) {
      sources.services.remove(known.service);
      standing.delete(index);
    } else {
      const made =
        known && random.isTrue(0.7)
          ? { ...known, slices: randomSlices(random, known.service, POOL) }
          : randomService(random, index, POOL);
      standing.set(index, made);
      sources.services.put(made.service);
      sources.endpointSlices.put(...made.slices);
    }
    // Some at once, as they come in a cluster: each batch is a sync or two.
    if (change % BATCH === 0) await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** One more service, whose refusal shows that all before it stands. */
async function theyAreWritten(
  t: ExecutionContext,
  sources: Sources,
  client: { ask(request: { protocol: 'tcp'; host: string; port: number; timeoutMs: number }): Promise<string> },
) {
  sources.services.put(serviceOf('kept/last', '10.96.200.2'));
  const ask = { protocol: 'tcp', host: '10.96.200.2', port: 80, timeoutMs: 300 } as const;
  await eventually('the last change', async () => (await client.ask(ask)) === 'ECONNREFUSED');
  t.pass();
}
