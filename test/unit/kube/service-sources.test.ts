import test, { type ExecutionContext } from 'ava';
import { createKubeClient } from '../../../src/kube/client.ts';
import { createInformerSet } from '../../../src/kube/informer.ts';
import { createServiceSources } from '../../../src/kube/service-sources.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { failure, type StubRequest, sendJson, startApiStub } from '../../support/api-stub.ts';

const SERVICE = { metadata: { name: 'web', namespace: 'shop', uid: 'u1', resourceVersion: '1' }, spec: {} };
const ENDPOINTS = {
  metadata: { name: 'web', namespace: 'shop', uid: 'u2', resourceVersion: '1' },
  subsets: [{ addresses: [{ ip: '10.0.0.1' }], ports: [{ port: 80 }] }],
};
const SLICE = {
  metadata: { name: 'web-x7', namespace: 'shop', uid: 'u3', resourceVersion: '1' },
  addressType: 'IPv4',
  endpoints: [],
};

/** The sources against a server of which `refuse` tells the status code that it answers a request with, 200 unless it says. */
async function start(t: ExecutionContext, refuse: (request: StubRequest) => number | undefined) {
  const lists: string[] = [];
  const stub = await startApiStub((request, response) => {
    const code = refuse(request);
    if (code) return sendJson(response, code, failure(code, 'no'));
    if (request.query.has('watch')) return void response.writeHead(200).flushHeaders();
    const plural = request.path.split('/').at(-1);
    if (plural !== 'v1' && request.query.get('limit') !== '1')
      lists.push(`${plural} ${request.query.get('fieldSelector') ?? 'all'}`);
    const items = { services: [SERVICE], endpoints: [ENDPOINTS], endpointslices: [SLICE] }[plural ?? ''] ?? [];
    sendJson(response, 200, { metadata: { resourceVersion: '1' }, items });
  });
  const client = createKubeClient({ server: stub.url, userAgent: 'test' });
  const clock = { ...systemClock, sleep: (_: number, signal?: AbortSignal) => systemClock.sleep(5, signal) };
  const informers = createInformerSet(client, { log: silentLogger, clock });
  const sources = createServiceSources({ labelSelector: '!other' }, { client, informers, log: silentLogger, clock });
  const seen: string[] = [];
  sources.services.subscribe({ added: ({ metadata }) => seen.push(`service ${metadata.name}`) });
  sources.endpointSlices.subscribe({ added: ({ metadata }) => seen.push(`slice ${metadata.name}`) });
  const abort = new AbortController();
  const runs = [informers.run(abort.signal), sources.run(abort.signal)];
  t.teardown(async () => {
    abort.abort();
    await Promise.all(runs);
    await client.close();
    await stub.close();
  });
  await Promise.all([sources.services.synced(abort.signal), sources.endpointSlices.synced(abort.signal)]);
  return { seen: seen.sort(), lists: lists.sort() };
}

test('a new server gives slices, and no headless Services', async (t) => {
  const { seen, lists } = await start(t, () => undefined);
  t.deepEqual(seen, ['service web', 'slice web-x7']);
  t.deepEqual(lists, ['endpointslices all', 'services spec.clusterIP!=None']);
});

test('a server of 1.20 gives Endpoints and all Services', async (t) => {
  const { seen, lists } = await start(t, ({ path, query }) => {
    if (path.startsWith('/apis/discovery.k8s.io/v1')) return 404;
    return query.get('fieldSelector') ? 400 : undefined;
  });
  t.deepEqual(seen, ['service web', 'slice web-0-ipv4']);
  t.deepEqual(lists, ['endpoints all', 'services all']);
});

for (const code of [403, 503])
  test(`a server that is only starting (${code}) is asked again`, async (t) => {
    let asked = 0;
    const { seen, lists } = await start(t, ({ query }) => {
      if (!query.get('fieldSelector')) return undefined;
      return asked++ < 3 ? code : 400;
    });
    t.deepEqual(seen, ['service web', 'slice web-x7']);
    t.deepEqual(lists, ['endpointslices all', 'services all']);
  });

test('waiting for a source ends with the signal', async (t) => {
  const client = createKubeClient({ server: 'https://127.0.0.1:1', userAgent: 'test' });
  const informers = createInformerSet(client, { log: silentLogger, clock: systemClock });
  const sources = createServiceSources(
    { labelSelector: '' },
    { client, informers, log: silentLogger, clock: systemClock },
  );
  const abort = new AbortController();
  const run = sources.run(abort.signal);
  const waiting = sources.services.synced(abort.signal);
  abort.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  await run;
  await client.close();
});
