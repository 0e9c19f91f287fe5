import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import express from 'express';
import { createDebugRoutes, type DebugDecision } from '../../../proxy/debug/routes.ts';
import { sendersOf } from '../../../proxy/debug/senders.ts';
import { createSyncState } from '../../../proxy/debug/sync-state.ts';
import { renderIptablesText } from '../../../proxy/iptables/text.ts';
import type { ProxyMode } from '../../../proxy/mode.ts';
import { readRulesSteps } from '../../../proxy/trace/rules-text.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { runAtOnce } from '../../../src/runtime/slices.ts';
import { eventually } from '../../support/eventually.ts';
import { NODE_OPTIONS, serviceOf, sliceOf, snapshotOf } from '../../support/proxy.ts';

const SERVICES = [serviceOf('ns/web', '10.96.0.1', { type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] })];
const SNAPSHOT = snapshotOf(SERVICES, [sliceOf('ns/web', ['10.244.0.1', { ip: '10.244.2.3', nodeName: 'node-2' }])]);
const render = () => renderIptablesText(SNAPSHOT, { ...NODE_OPTIONS, hasRandomFully: true, isLargeCluster: false });
const MODE = { name: 'iptables', renderText: render } as unknown as ProxyMode;

async function serve(
  t: ExecutionContext,
  decide: (token: string, path: string) => DebugDecision,
  cameInAt = '127.0.0.1',
) {
  const state = createSyncState();
  const done = { snapshot: SNAPSHOT, node: NODE_OPTIONS, dirty: new Set<string>() };
  state.synced('IPv4', { ...done, report: { kind: 'full' } }, 1000);
  state.synced('IPv4', { ...done, report: { kind: 'partial' } }, 5000);
  const app = express();
  let live = Promise.resolve();
  let reads = 0;
  app.use((request, _response, next) => {
    request.socket.address = () => ({ address: cameInAt, family: 'IPv4', port: 10249 });
    next();
  });
  app.use(
    '/debug/berth',
    createDebugRoutes({
      mode: MODE,
      families: ['IPv4', 'IPv6'],
      state,
      host: () => ({ localAddresses: ['192.168.0.2'] }),
      nowMs: () => 31_000,
      access: async (token, path) => decide(token, path),
      readLive: async () => {
        reads++;
        await live;
        return { rulesets: runAtOnce(readRulesSteps('IPv4', await render())), gaps: [] };
      },
      log: silentLogger,
    }),
  );
  const server = createServer(app as RequestListener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  return {
    liveReads: () => reads,
    holdLive: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      live = promise;
      return resolve;
    },
    get: (path: string, init: RequestInit = { headers: { Authorization: 'Bearer good' } }) =>
      fetch(`http://127.0.0.1:${port}/debug/berth${path}`, init),
  };
}

const yes = (): DebugDecision => ({ kind: 'allowed' });

test('one service: ports, endpoints, age of its last sync, and where packets of each kind of sender end', async (t) => {
  const { get } = await serve(t, yes);
  const response = await get('/services/ns/web');
  t.is(response.status, 200);
  t.is(response.headers.get('cache-control'), 'no-store');
  const { node, mode, families } = (await response.json()) as {
    node: string;
    mode: string;
    families: {
      family: string;
      lastSync: { time: string; ageSeconds: number };
      ports: {
        port: number;
        endpoints: object[];
        traces: { from: string; packet: { destination: string }; ends: { verdict: string; rules: object[] }[] }[];
      }[];
    }[];
  };
  t.like({ node, mode, families }, { node: 'node-1', mode: 'iptables', families: { length: 1 } });
  // The partial sync at second 5 did not concern this service.
  t.deepEqual(families[0]?.lastSync, { time: '1970-01-01T00:00:01.000Z', ageSeconds: 30 });
  const [port] = families[0]!.ports;
  t.deepEqual(port?.endpoints, [
    { address: '10.244.0.1:8080', condition: 'ready', isLocal: true, usedFor: ['Cluster'] },
    { address: '10.244.2.3:8080', condition: 'ready', isLocal: false, usedFor: ['Cluster'] },
  ]);
  t.deepEqual(
    port?.traces.map(({ from, packet, ends }) => `${from} ${packet.destination} ${ends.length}`),
    ['pod', 'node', 'outside']
      .flatMap((from) => [`${from} 10.96.0.1 2`])
      .concat(['pod', 'node', 'outside'].map((from) => `${from} 192.168.0.2 2`)),
  );
  t.true(
    port!.traces.every(({ ends }) => ends.every(({ verdict, rules }) => verdict === 'ACCEPT' && rules.length > 4)),
  );
});

test('the list of services, with the age of each', async (t) => {
  const { get } = await serve(t, yes);
  t.deepEqual(await (await get('/services')).json(), {
    services: [{ namespace: 'ns', name: 'web', ageSeconds: { IPv4: 30 } }],
  });
});

test('?kernel=true compares with the rules of the kernel, for one reader at a time', async (t) => {
  const { get, holdLive, liveReads } = await serve(t, yes);
  const release = holdLive();
  const first = get('/services/ns/web?kernel=true');
  await eventually('the first one reads', () => liveReads() === 1);
  const second = await get('/services/ns/web?kernel=true');
  t.is(second.status, 429);
  t.is(second.headers.get('retry-after'), '1');
  t.is((await get('/services/ns/web')).status, 200, 'without the kernel nobody waits');
  release();
  const report = JSON.parse(await (await first).text()) as {
    families: { ports: { traces: { live: { differences: string[] } }[] }[] }[];
  };
  const traces = report.families[0]!.ports[0]!.traces;
  t.true(traces.length > 0);
  t.deepEqual(
    traces.flatMap(({ live }) => live.differences),
    [],
  );
  t.is((await get('/services/ns/web?kernel=true')).status, 200, 'free again');
});

test('who may read: the path as asked goes to the access check; each refusal has its code', async (t) => {
  const asked: string[] = [];
  const { get } = await serve(t, (token, path) => {
    asked.push(`${token} ${path}`);
    return token === 'good'
      ? { kind: 'allowed' }
      : { kind: token as 'unknown' | 'denied' | 'failed', message: `it is ${token}` };
  });
  const as = (authorization: string) => get('/services/ns/web', { headers: { Authorization: authorization } });
  t.is((await get('/services/ns/web', {})).status, 401);
  t.is((await get('/services/ns/web', {})).headers.get('www-authenticate'), 'Bearer');
  t.is((await as('Basic Z29vZA==')).status, 401);
  t.is((await as('Bearer unknown')).status, 401);
  const denied = await as('Bearer denied');
  t.is(denied.status, 403);
  t.like(await denied.json(), { kind: 'Status', code: 403, message: 'it is denied' });
  t.is((await as('Bearer failed')).status, 503);
  t.is((await get('/nothing')).status, 404);
  t.is((await get('/services/ns/other')).status, 404);
  t.is((await get('/services/ns/web?kernel=maybe')).status, 400);
  const write = await get('/services/ns/web', { method: 'DELETE', headers: { Authorization: 'Bearer good' } });
  t.is(write.status, 405);
  t.is(write.headers.get('allow'), 'GET, HEAD');
  t.true(asked.includes('good /debug/berth/services/ns/web'));
});

test('credentials that came in from elsewhere than loopback are not even looked at', async (t) => {
  let asked = 0;
  const decide = () => {
    asked++;
    return yes();
  };
  for (const address of ['192.168.0.2', '::ffff:192.168.0.2', 'fd00::2'])
    t.is((await (await serve(t, decide, address)).get('/services')).status, 403, address);
  t.is(asked, 0);
  for (const address of ['127.0.0.1', '::ffff:127.0.0.1', '::1'])
    t.is((await (await serve(t, decide, address)).get('/services')).status, 200, address);
});

test('a service that changed is younger than its neighbours; a full sync makes all young', (t) => {
  const state = createSyncState();
  const two = { family: 'IPv4' as const, services: new Map([...SNAPSHOT.services, ['ns/b', { ports: [] }]]) };
  const sync = (kind: string, dirty: string[], atMs: number) =>
    state.synced('IPv4', { snapshot: two, node: NODE_OPTIONS, dirty: new Set(dirty), report: { kind } }, atMs);
  sync('partial', [], 1);
  sync('partial', ['ns/b'], 2);
  t.is(state.syncedMs('IPv4', 'ns/web'), 1);
  t.is(state.syncedMs('IPv4', 'ns/b'), 2);
  sync('full', [], 3);
  t.is(state.syncedMs('IPv4', 'ns/b'), 3);
  t.is(state.syncedMs('IPv4', 'ns/none'), undefined);
  t.is(state.syncedMs('IPv6', 'ns/b'), undefined);
});

test('senders: a pod is told by whatever tells pods', (t) => {
  const pod = (localDetector: (typeof NODE_OPTIONS)['localDetector']) =>
    sendersOf('IPv4', { ...NODE_OPTIONS, localDetector }).find(({ from }) => from === 'pod');
  t.deepEqual(pod({ kind: 'cidr', cidr: '10.244.0.0/16' }), {
    from: 'pod',
    source: '10.244.255.254',
    inInterface: 'pod',
  });
  t.is(pod({ kind: 'bridge', name: 'cni0' })?.inInterface, 'cni0');
  t.is(pod({ kind: 'prefix', prefix: 'veth' })?.inInterface, 'veth0');
  t.is(pod({ kind: 'none' }), undefined);
});
