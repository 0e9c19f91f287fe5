import test from 'ava';
import type { KubeClient } from '../../../src/kube/client.ts';
import { ApiError, statusFromText } from '../../../src/kube/errors.ts';
import { createEventRecorder } from '../../../src/kube/events.ts';
import type { Event, Pod } from '../../../src/kube/types.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { pod } from '../../support/api-stub.ts';

function setUp() {
  const clock = createFakeClock();
  const created: Event[] = [];
  const patched: { name: string; patch: { count: number; message: string } }[] = [];
  const state = { failures: [] as unknown[], patchFails: undefined as unknown };
  const client = {
    async create(_: unknown, draft: Event) {
      const failure = state.failures.shift();
      if (failure) throw failure;
      created.push(draft);
      return draft;
    },
    async patch(_: unknown, { name, patch }: { name: string; patch: { count: number; message: string } }) {
      if (state.patchFails) throw state.patchFails;
      patched.push({ name, patch });
    },
  } as unknown as KubeClient;
  const recorder = createEventRecorder({ client, component: 'kubelet', host: 'n1', log: silentLogger, clock });
  const object = { apiVersion: 'v1', kind: 'Pod', ...pod('a', 5) } as Pod;
  return { clock, created, patched, state, recorder, object };
}

test('an event names object, reporter and times', async (t) => {
  const { created, recorder, object } = setUp();
  recorder.event(object, 'Normal', 'Started', 'Started container x', 'spec.containers{x}');
  await recorder.flush();
  t.like(created[0], {
    involvedObject: {
      kind: 'Pod',
      namespace: 'default',
      name: 'a',
      uid: 'uid-a',
      apiVersion: 'v1',
      resourceVersion: '5',
      fieldPath: 'spec.containers{x}',
    },
    type: 'Normal',
    reason: 'Started',
    message: 'Started container x',
    source: { component: 'kubelet', host: 'n1' },
    reportingComponent: 'kubelet',
    reportingInstance: 'n1',
    count: 1,
    firstTimestamp: '2026-01-01T00:00:00Z',
  });
  t.regex(created[0]!.metadata.name, /^a\.[0-9a-f]{16}$/);
});

test('repeats raise the count; when the event has expired it is told anew', async (t) => {
  const { created, patched, state, recorder, object } = setUp();
  const again = () => recorder.event(object, 'Warning', 'BackOff', 'again');
  again();
  await recorder.flush();
  again();
  again();
  await recorder.flush();
  t.is(created.length, 1);
  t.deepEqual(
    patched.map(({ patch }) => patch.count),
    [3],
    'repeats that wait are written at once',
  );
  state.patchFails = new ApiError(statusFromText(404, '', 'gone'));
  again();
  await recorder.flush();
  t.is(created.at(-1)?.count, 4);
});

test('a flood of similar events is merged, then cut off', async (t) => {
  const { created, recorder, object } = setUp();
  for (let count = 0; count < 40; count++) recorder.event(object, 'Warning', 'Failed', `try ${count}`);
  await recorder.flush();
  t.is(created.length, 11);
  t.is(created[10]!.message, '(combined from similar events): try 10');
  t.is(created[10]!.count, 15, 'the burst of 25 ends it');
});

test('the burst refills with time, and other objects have their own', async (t) => {
  const { clock, created, recorder, object } = setUp();
  for (let count = 0; count < 30; count++) recorder.event(object, 'Normal', `Reason${count}`, 'm');
  const other = { ...object, metadata: { ...object.metadata, uid: 'other' } };
  recorder.event(other, 'Normal', 'Other', 'm');
  await recorder.flush();
  t.is(created.length, 26);
  await clock.advance(300_000);
  recorder.event(object, 'Normal', 'Later', 'm');
  await recorder.flush();
  t.is(created.length, 27);
});

test('a sick server is asked again, a refusal is final; nothing is ever thrown', async (t) => {
  const { clock, created, state, recorder, object } = setUp();
  state.failures = [new Error('connect ECONNREFUSED'), new ApiError(statusFromText(503, '', 'x'))];
  recorder.event(object, 'Normal', 'A', 'm');
  await clock.advance(60_000);
  await recorder.flush();
  t.is(created.length, 1);
  state.failures = [new ApiError(statusFromText(403, '', 'no'))];
  recorder.event(object, 'Normal', 'B', 'm');
  await recorder.flush();
  t.is(created.length, 1);
  t.notThrows(() => recorder.event(undefined as unknown as Pod, 'Normal', 'C', 'm'));
});

test('long messages are cut to 1024 bytes without breaking a character', async (t) => {
  const { created, recorder, object } = setUp();
  recorder.event(object, 'Normal', 'A', '✓'.repeat(1000));
  await recorder.flush();
  const { message } = created[0]!;
  t.true(Buffer.byteLength(message!) <= 1024);
  t.regex(message!, /^✓+\.\.\.$/);
});
