import test from 'ava';
import type { KubeClient } from '../../../src/kube/client.ts';
import type { InformerSet } from '../../../src/kube/informer.ts';
import { createOptionalSource } from '../../../src/kube/optional-source.ts';
import type { Resource } from '../../../src/kube/resources.ts';
import type { KubeObject } from '../../../src/kube/types.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { eventually } from '../../support/eventually.ts';

const MINUTE_MS = 60_000;
const resource = {
  group: 'networking.k8s.io',
  version: 'v1',
  plural: 'servicecidrs',
  kind: 'ServiceCIDR',
} as Resource<KubeObject>;

test('a kind that the server does not have is not asked for: nothing forbidden stands in its audit log; later it is looked for again', async (t) => {
  const clock = createFakeClock();
  const asked: string[] = [];
  const server = { kinds: ['networkpolicies'], mayList: false, away: false };
  const client = {
    async raw(path: string) {
      asked.push(path);
      const text = JSON.stringify({ resources: server.kinds.map((name) => ({ name })) });
      const isList = path.endsWith('/servicecidrs');
      const statusCode = server.away ? 503 : isList && !server.mayList ? 403 : 200;
      return { statusCode, body: { text: async () => text } };
    },
  } as unknown as KubeClient;
  let informers = 0;
  const { run } = createOptionalSource(resource, {
    client,
    informers: { informer: () => void informers++ } as unknown as InformerSet,
    log: silentLogger,
    clock,
  });
  const stop = new AbortController();
  const running = run(stop.signal);
  const passes = async (minutes: number) => {
    const { length } = asked;
    await clock.advance(minutes * MINUTE_MS);
    await eventually('it has asked again', () => asked.length > length);
  };
  await eventually('it asks', () => asked.length === 1);
  t.deepEqual(asked, ['/apis/networking.k8s.io/v1']);
  await passes(5);
  t.deepEqual(new Set(asked), new Set(['/apis/networking.k8s.io/v1']));

  // The server was replaced by one that has it, and then somebody allows it.
  server.kinds.push('servicecidrs');
  await passes(5);
  await eventually('it tries', () => asked.at(-1)!.endsWith('/servicecidrs'));
  t.is(informers, 0);
  server.away = true;
  await passes(5);
  server.away = false;
  server.mayList = true;
  await passes(5);
  await eventually('it is followed', () => informers === 1);
  stop.abort();
  await running;
});
