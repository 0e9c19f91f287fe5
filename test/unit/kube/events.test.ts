import test from 'ava';
import type { KubeClient } from '../../../src/kube/client.ts';
import { ApiError, statusFromText } from '../../../src/kube/errors.ts';
import { createEventRecorder } from '../../../src/kube/events.ts';
import type { Event, Pod } from '../../../src/kube/types.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { pod } from '../../support/api-stub.ts';

function setUp(limit?: { perSecond: number; burst: number }) {
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
  const recorder = createEventRecorder({
    client,
    component: 'kubelet',
    host: 'n1',
    log: silentLogger,
    clock,
    ...(limit && { limit }),
  });
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

test('an event carries annotations for programs', async (t) => {
  const { created, recorder, object } = setUp();
  recorder.event(object, 'Warning', 'Evicted', 'm', undefined, { starved_resource: 'memory' });
  recorder.event(object, 'Normal', 'Started', 'm');
  await recorder.flush();
  t.deepEqual(
    created.map(({ metadata }) => metadata.annotations),
    [{ starved_resource: 'memory' }, undefined],
  );
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

test('a flood of similar events is merged from the tenth on, then cut off', async (t) => {
  const { created, patched, recorder, object } = setUp();
  for (let count = 0; count < 40; count++) {
    recorder.event(object, 'Warning', 'Failed', `try ${count}`);
    await recorder.flush();
  }
  t.is(created.length, 10);
  t.is(created[8]!.message, 'try 8');
  t.is(created[9]!.message, '(combined from similar events): try 9');
  t.is(patched.length, 15, 'the burst of 25 ends it');
  t.deepEqual(patched.at(-1), {
    name: created[9]!.metadata.name,
    patch: { count: 16, lastTimestamp: '2026-01-01T00:00:00Z', message: '(combined from similar events): try 24' },
  });
});

test('in a flood, what was told before goes on under its own name; other reasons are no part of it', async (t) => {
  const { created, patched, recorder, object } = setUp();
  const tell = async (reason: string, message: string, fieldPath?: string) => {
    recorder.event(object, 'Warning', reason, message, fieldPath);
    await recorder.flush();
  };
  for (let count = 0; count < 11; count++) await tell('Failed', `try ${count}`, `spec.containers{c${count}}`);
  t.is(created.at(-1)!.message, '(combined from similar events): try 9', 'containers of a pod flood together');
  await tell('Failed', 'try 3', 'spec.containers{c3}');
  t.is(patched.at(-1)!.name, created[3]!.metadata.name);
  t.is(patched.at(-1)!.patch.message, 'try 3');
  await tell('Other', 'x');
  t.is(created.at(-1)!.message, 'x');
  await tell('Other', 'x', 'spec.containers{a}');
  t.is(created.at(-1)!.count, 1, 'another place is another event');
});

test('a flood ends ten minutes after its last', async (t) => {
  const { clock, created, recorder, object } = setUp();
  for (let count = 0; count < 12; count++) recorder.event(object, 'Warning', 'Failed', `try ${count}`);
  await clock.advance(600_000);
  recorder.event(object, 'Warning', 'Failed', 'still');
  await recorder.flush();
  t.regex(created.at(-1)!.message!, /^\(combined/);
  await clock.advance(600_001);
  recorder.event(object, 'Warning', 'Failed', 'again');
  await recorder.flush();
  t.is(created.at(-1)!.message, 'again');
});

test('what the spam filter holds back is in the count of the next that passes', async (t) => {
  const { clock, created, patched, recorder, object } = setUp();
  const again = async () => {
    recorder.event(object, 'Warning', 'BackOff', 'again');
    await recorder.flush();
  };
  for (let count = 0; count < 40; count++) await again();
  t.is(created.length + patched.length, 25);
  t.is(patched.at(-1)!.patch.count, 25);
  await clock.advance(300_000);
  await again();
  t.is(patched.at(-1)!.patch.count, 41);
  await again();
  t.is(created.length + patched.length, 26, 'one token in five minutes');
});

test('eventRecordQPS and eventBurst space the writes', async (t) => {
  const { clock, created, recorder, object } = setUp({ perSecond: 5, burst: 3 });
  for (let count = 0; count < 9; count++) recorder.event(object, 'Normal', `R${count}`, 'm');
  await clock.advance(0);
  t.is(created.length, 3);
  await clock.advance(199);
  t.is(created.length, 3);
  await clock.advance(1);
  t.is(created.length, 4);
  await clock.advance(1000);
  t.is(created.length, 9);
  await recorder.flush();
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
