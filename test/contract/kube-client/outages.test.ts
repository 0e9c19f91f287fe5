import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import {
  type CertificateAuthority,
  createCertificateAuthority,
  issueCertificate,
} from '../../../src/auth/authority.ts';
import { createKubeClient, type KubeClient } from '../../../src/kube/client.ts';
import { createInformer } from '../../../src/kube/informer.ts';
import { configMaps } from '../../../src/kube/resources.ts';
import type { ConfigMap } from '../../../src/kube/types.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/agent.ts';
import { openChaosLink } from '../../support/chaos-link.ts';
import { startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';
import { openSockets } from '../../support/node-api.ts';

/** Ten seconds of patience in half a second. */
const SPEED = 20;
const fastClock: Clock = {
  ...systemClock,
  monotonicMs: () => systemClock.monotonicMs() * SPEED,
  sleep: (ms, signal) => systemClock.sleep(ms / SPEED, signal),
  after: (ms, fire) => systemClock.after(ms / SPEED, fire),
};
const TOKEN = 'secret-of-the-test';
const namespace = 'default';
const nowMs = Date.now();

let server: TestControlPlane;
let admin: KubeClient;
test.before(async () => {
  server = await startTestControlPlane({
    tokens: [{ token: TOKEN, user: { username: 'admin', groups: ['system:masters'] } }],
  });
  await server.createNamespaces(namespace);
  admin = await server.admin();
});
test.after.always(() => server?.stop());

/** The real client and informer, of config maps with this label, behind a link. */
async function scene(t: ExecutionContext, options: { caFile?: string; caPem?: string } = {}) {
  t.timeout(240_000);
  const label = `${t.title.replaceAll(/\W+/g, '-').slice(0, 40)}x`;
  const link = await openChaosLink(server.port);
  const client = createKubeClient(
    {
      server: `https://127.0.0.1:${link.port}`,
      ...(options.caFile ? { caFile: options.caFile, caPem: options.caPem } : { caPem: server.caPem }),
      token: TOKEN,
      userAgent: 'test',
    },
    { clock: fastClock },
  );
  const informer = createInformer<ConfigMap>({
    client,
    resource: configMaps,
    namespace,
    labelSelector: `test=${label}`,
    log: silentLogger,
    clock: fastClock,
  });
  const stop = new AbortController();
  const running = informer.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
    await client.close();
    await link.close();
  });
  await informer.synced();
  let count = 0;
  return {
    link,
    client,
    informer,
    change: () =>
      admin.create(configMaps, {
        metadata: { name: `${label}-${count++}`.toLowerCase(), namespace, labels: { test: label } },
      }),
    /** The informer knows what the server knows. */
    async caughtUp() {
      const options = { namespace, labelSelector: `test=${label}` };
      const wanted = (await admin.list(configMaps, options)).items.map(({ metadata }) => metadata.uid).sort();
      await eventually(
        `all ${wanted.length} objects are known`,
        () =>
          JSON.stringify(
            informer
              .list()
              .map(({ metadata }) => metadata.uid)
              .sort(),
          ) === JSON.stringify(wanted),
      );
    },
  };
}

/** The steady pulse of a node: its lease, with ten seconds of patience. */
async function pulse(client: KubeClient): Promise<boolean> {
  const patience = new AbortController();
  const cancel = fastClock.after(10_000, () => patience.abort(new Error('no answer')));
  return client
    .get(configMaps, { namespace, name: 'nobody', signal: patience.signal })
    .then(
      () => true,
      (error) => error.code === 404,
    )
    .finally(cancel);
}

test('a watch that hangs without a sign is begun anew once a request got no answer either', async (t) => {
  const { link, client, informer, change, caughtUp } = await scene(t);
  await change();
  await caughtUp();
  link.set('silence');
  await change();
  t.false(await pulse(client));
  t.is(informer.list().length, 1);
  // Traffic flows again, but not on what was open: nobody ever answers there.
  link.set('flow');
  t.true(await eventually('an answer', () => pulse(client)));
  await caughtUp();
});

test('a server that is slow with one answer keeps its watches', async (t) => {
  const { link, client, change, caughtUp } = await scene(t);
  await change();
  await caughtUp();
  const before = link.accepted();
  // Nobody answers this one within anybody's patience, but events come meanwhile.
  const mute = createServer((socket) => void socket.on('error', () => {}).resume());
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void mute.close());
  link.retarget((mute.address() as { port: number }).port);
  const hanging = new AbortController();
  const slow = client.raw('/version', { bodyTimeoutMs: 0, signal: hanging.signal });
  for (let i = 0; i < 4; i++) {
    await sleep(200);
    await change();
    await caughtUp();
  }
  hanging.abort(new Error('enough'));
  await t.throwsAsync(slow, { message: 'enough' });
  link.retarget(server.port);
  await change();
  await caughtUp();
  t.is(link.accepted() - before, 1, 'the watch is the one of before');
});

test('who waits for its next try need not, once the server answers somebody', async (t) => {
  const { link, client, change, caughtUp } = await scene(t);
  const returns: number[] = [];
  client.onReturn?.(() => returns.push(performance.now()));
  link.set('refuse');
  await sleep(2_500);
  await change();
  t.false(await pulse(client));
  link.set('flow');
  t.true(await eventually('an answer', () => pulse(client)));
  t.is(returns.length, 1);
  await caughtUp();
});

/** A generator of numbers below `limit`, the same for the same seed. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % limit;
  };
}

const CYCLES = process.env['BERTH_TEST_FULL'] === '1' ? 200 : 12;

test.serial('many outages of every kind: nothing is missed, nothing piles up', async (t) => {
  const { link, client, change, caughtUp } = await scene(t);
  const pick = random(7);
  // Each connection has four ends in this process: the client's, the link's two, the server's.
  const others = () => openSockets() - 4 * link.open();
  const before = others();
  let heapBytes = 0;
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const requests = Array.from({ length: 5 }, () => pulse(client));
    const kind = pick(4);
    if (kind === 0) link.set('refuse');
    else if (kind === 1) link.set('silence');
    else if (kind === 2) link.cutAfter(pick(400));
    else link.reset();
    await change();
    if (kind === 1) await pulse(client);
    await sleep(pick(60));
    link.set('flow');
    await Promise.all(requests);
    await eventually('an answer', () => pulse(client));
    await caughtUp();

    if (cycle === 4) heapBytes = process.memoryUsage().heapUsed;
  }
  await eventually('no more sockets than before', () => others() <= before + 8);
  t.true(link.open() <= 8, `${link.open()} connections are open`);
  const grownMiB = (process.memoryUsage().heapUsed - heapBytes) / 2 ** 20;
  t.true(grownMiB < 30, `the heap has grown by ${grownMiB.toFixed(1)} MiB`);
});

/** Shows another certificate than the server behind it; requests go through with their token. */
async function disguise(t: ExecutionContext, ca: CertificateAuthority): Promise<number> {
  const pair = await issueCertificate(ca, {
    commonName: 'another-kube-apiserver',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
    days: 1,
    nowMs,
  });
  const { connect } = await import('node:tls');
  const relay = createTlsServer({ cert: pair.certPem, key: pair.keyPem }, (near) => {
    const far = connect({ port: server.port, host: '127.0.0.1', ca: server.caPem });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const)
      from.on('error', () => to.destroy()).pipe(to);
  });
  relay.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void relay.close());
  return (relay.address() as { port: number }).port;
}

test('a server that is replaced: another certificate of its authority is as good', async (t) => {
  const { link, client, change, caughtUp } = await scene(t);
  link.retarget(await disguise(t, server.ca));
  link.reset();
  t.true(await eventually('an answer', () => pulse(client)));
  await change();
  await caughtUp();
});

test('a server of another authority is refused by name; once it is the right one, all goes on', async (t) => {
  const { link, client, informer, change, caughtUp } = await scene(t);
  const other = await createCertificateAuthority({ commonName: 'other', days: 1, nowMs });
  link.retarget(await disguise(t, other));
  link.reset();
  await change();
  const error = await t.throwsAsync(client.list(configMaps), { instanceOf: ExplainedError });
  t.regex(error.message, /is not the API server of these credentials/);
  await sleep(500);
  t.is(informer.list().length, 0);
  link.retarget(server.port);
  t.true(await eventually('an answer', () => pulse(client)));
  await caughtUp();
});

test('an authority that is replaced in its file is taken as soon as the server shows it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-ca-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const caFile = join(folder, 'ca.crt');
  writeFileSync(caFile, server.caPem);
  const { link, client, change, caughtUp } = await scene(t, { caFile, caPem: server.caPem });
  const other = await createCertificateAuthority({ commonName: 'other', days: 1, nowMs });
  link.retarget(await disguise(t, other));
  link.reset();
  await t.throwsAsync(client.list(configMaps), { instanceOf: ExplainedError });
  // Half a file is none.
  writeFileSync(caFile, other.certPem.slice(0, 200));
  await sleep(200);
  t.false(await pulse(client));
  writeFileSync(caFile, other.certPem);
  t.true(await eventually('an answer', () => pulse(client)));
  await change();
  await caughtUp();
});
