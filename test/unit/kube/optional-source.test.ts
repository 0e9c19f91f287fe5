import test from 'ava';
import type { KubeClient } from '../../../src/kube/client.ts';
import type { InformerSet } from '../../../src/kube/informer.ts';
import { createOptionalSource } from '../../../src/kube/optional-source.ts';
import { serviceCidrs } from '../../../src/kube/resources.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../fakes/clock.ts';

const GROUP = '/apis/networking.k8s.io/v1';
const LIST = `${GROUP}/servicecidrs`;

test('a kind that the server lacks, or does not list to us, is asked for again; then it is followed', async (t) => {
  const clock = createFakeClock();
  const answers: Record<string, [number, string]> = { [GROUP]: [500, ''] };
  const asked: string[] = [];
  const client = {
    async raw(path: string) {
      asked.push(path);
      const [statusCode, text] = answers[path] ?? [404, ''];
      return { statusCode, body: { text: async () => text } };
    },
  } as unknown as KubeClient;
  let subscribed = 0;
  const informers = {
    informer: () => ({
      subscribe() {
        subscribed++;
        return () => {};
      },
    }),
  } as unknown as InformerSet;
  const { source, run } = createOptionalSource(serviceCidrs, { client, informers, log: silentLogger, clock });
  source.subscribe({});
  const controller = new AbortController();
  const done = run(controller.signal);
  const after = async (ms: number) => {
    await clock.advance(ms);
    await settle();
    return asked.splice(0);
  };
  t.deepEqual(await after(0), [GROUP]);
  answers[GROUP] = [200, JSON.stringify({ resources: [{ name: 'networkpolicies' }] })];
  t.deepEqual(await after(2000), [GROUP], 'what the server does not have is not listed');
  answers[GROUP] = [200, JSON.stringify({ resources: [{ name: 'servicecidrs' }] })];
  answers[LIST] = [403, ''];
  t.deepEqual(await after(299_000), []);
  t.deepEqual(await after(1000), [GROUP, LIST]);
  t.is(subscribed, 0);
  answers[LIST] = [200, '{}'];
  t.deepEqual(await after(300_000), [GROUP, LIST]);
  t.is(subscribed, 1);
  t.deepEqual(await after(600_000), []);
  controller.abort();
  await done;
});
