import test from 'ava';
import { createPullProgress, describeProgress } from '../../../../agent/images/pull-progress.ts';
import { createPullRate } from '../../../../agent/images/pull-rate.ts';
import { createPullSlots } from '../../../../agent/images/pull-slots.ts';
import { createSharedWork } from '../../../../agent/images/shared-work.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';
import { eventually } from '../../../support/eventually.ts';
import { pullSecret, startImageParts } from '../../../support/image-parts.ts';
import { podOf } from '../pod.ts';

const never = new AbortController().signal;

test('pull slots: in the order of asking; an aborted wait gives its place up', async (t) => {
  const slots = createPullSlots(1);
  const release = await slots.acquire(never);
  const order: string[] = [];
  const stop = new AbortController();
  const second = slots.acquire(stop.signal);
  const third = slots.acquire(never).then((free) => {
    order.push('third');
    free();
  });
  stop.abort(new Error('gone'));
  await t.throwsAsync(second, { message: 'gone' });
  release();
  release();
  await third;
  t.deepEqual(order, ['third']);
});

test('pull rate: a burst, then so many a second; 0 is no limit', async (t) => {
  const clock = createFakeClock();
  const rate = createPullRate({ perSecond: 5, burst: 3 }, clock);
  const takes = (count: number) => Array.from({ length: count }, () => rate.tryTake());
  t.deepEqual(takes(4), [true, true, true, false]);
  await clock.advance(200);
  t.deepEqual(takes(2), [true, false]);
  await clock.advance(60_000);
  t.deepEqual(takes(4), [true, true, true, false]);
  const open = createPullRate({ perSecond: 0, burst: 0 }, clock);
  t.true(open.tryTake());
});

test('shared work: one for all who wait; ended when the last has gone', async (t) => {
  const share = createSharedWork<string>();
  const runs: { finish: (text: string) => void; signal: AbortSignal }[] = [];
  const work = (signal: AbortSignal) => new Promise<string>((finish) => runs.push({ finish, signal }));
  const leaving = new AbortController();
  const first = share('k', work, leaving.signal);
  const second = share('k', work, never);
  const other = share('other', work, never);
  t.is(runs.length, 2);
  leaving.abort(new Error('gone'));
  await t.throwsAsync(first, { message: 'gone' });
  t.false(runs[0]!.signal.aborted);
  runs[0]!.finish('done');
  t.is(await second, 'done');
  runs[1]!.finish('other');
  await other;
  const alone = new AbortController();
  const last = share('k', work, alone.signal);
  alone.abort(new Error('gone too'));
  await t.throwsAsync(last);
  t.true(runs[2]!.signal.aborted);
  const fresh = share('k', work, never);
  t.is(runs.length, 4, 'nobody joins what was broken off');
  runs[3]!.finish('new');
  t.is(await fresh, 'new');
});

const line = (layer: string | undefined, status: string, current?: number, total?: number) => ({
  layer,
  status,
  current,
  total,
});

test('progress of a pull, from the Engine’s lines', (t) => {
  const progress = createPullProgress();
  t.is(progress.add(line(undefined, 'Pulling from team/app')), 0);
  progress.add(line('a'.repeat(12), 'Already exists'));
  progress.add(line('b'.repeat(12), 'Pulling fs layer'));
  t.is(progress.add(line('b'.repeat(12), 'Downloading', 1 << 20, 4 << 20)), 1 << 20);
  t.is(progress.add(line('b'.repeat(12), 'Downloading', 3 << 20, 4 << 20)), 2 << 20);
  t.is(describeProgress(progress.summary()), '3.0 MiB of 4.0 MiB downloaded, 1 of 2 layers done');
  t.is(progress.summary().lastLine, `bbbbbbbbbbbb: Downloading ${3 << 20}/${4 << 20}`);
  t.is(progress.add(line('b'.repeat(12), 'Download complete')), 1 << 20);
  progress.add(line('b'.repeat(12), 'Extracting', 1, 4 << 20));
  t.true(progress.summary().isUnpacking);
  progress.add(line('b'.repeat(12), 'Pull complete'));
  t.like(progress.summary(), { isUnpacking: false, layersDone: 2, downloadedBytes: 4 << 20 });
});

const podWith = (name: string, image: string, secret?: string) =>
  podOf(
    { containers: [{ name: 'app', image }], ...(secret && { imagePullSecrets: [{ name: secret }] }) },
    { uid: `uid-${name}`, name },
  );

/** Pulls that end when told to. */
function gate(docker: Awaited<ReturnType<typeof startImageParts>>['docker']) {
  const open: (() => void)[] = [];
  docker.onPull = () => new Promise((resolve) => open.push(resolve));
  return open;
}

test('pulls are serial: the second waits for its turn, and says so', async (t) => {
  const { docker, clock, ensure, events, metric } = await startImageParts(t);
  docker.registry.add('a:1').add('b:1');
  const open = gate(docker);
  const first = ensure(podWith('a', 'a:1'));
  // Who comes first is decided behind questions to the Engine.
  await eventually('the first pulls', () => open.length === 1);
  const second = ensure(podWith('b', 'b:1'));
  await eventually(
    'the second waits',
    async () => (await metric('berth_image_pulls_waiting')) === 1 && open.length === 1,
  );
  t.is(await metric('berth_image_pulls_in_progress'), 1);
  await clock.advance(2000);
  open[0]!();
  await first;
  await eventually('its turn', () => open.length === 2);
  await clock.advance(1500);
  open[1]!();
  await second;
  t.true(events.at(-1)!.includes('"b:1" in 1.5s (3.5s including waiting). Image size'), events.at(-1));
  t.is(await metric('berth_image_pulls_total', { result: 'success' }), 2);
});

test('pulls in parallel, as many as allowed', async (t) => {
  const { docker, ensure, metric } = await startImageParts(t, { maxParallelPulls: 2 });
  for (const name of ['a:1', 'b:1', 'c:1']) docker.registry.add(name);
  const open = gate(docker);
  const all = ['a', 'b', 'c'].map((name) => ensure(podWith(name, `${name}:1`)));
  await eventually('two run', async () => open.length === 2 && (await metric('berth_image_pulls_waiting')) === 1);
  open[0]!();
  await eventually('the third', () => open.length === 3);
  t.is(await metric('berth_image_pulls_in_progress'), 2);
  open[1]!();
  open[2]!();
  await Promise.all(all);
});

test('one pull for all who want the same image with the same credentials; others pull for themselves', async (t) => {
  const { docker, ensure, secrets, events } = await startImageParts(t, { maxParallelPulls: 5 });
  docker.registry.add('reg.example/a:1');
  const entry = { username: 'u', password: 'p' };
  secrets.set('default/one', pullSecret('one', { 'reg.example': entry }));
  secrets.set('default/copy', pullSecret('copy', { 'reg.example': entry }));
  secrets.set('default/other', pullSecret('other', { 'reg.example': { ...entry, username: 'other' } }));
  const open = gate(docker);
  const all = ['one', 'copy', 'other', undefined].map((secret) =>
    ensure(podWith(`pod-${secret}`, 'reg.example/a:1', secret)),
  );
  await eventually('all have begun', () => open.length === 3 && events.length === 4);
  // Who says that he pulls looks for the pull that he joins some turns later.
  await settle(50);
  for (const one of open) one();
  // A fourth pull would be one too many; it is not to hang.
  docker.onPull = async () => {};
  await Promise.all(all);
  t.is(docker.calls.filter((call) => call === 'pull reg.example/a:1').length, 3);
  t.is(events.filter((event) => event.includes('Successfully pulled')).length, 4);
});

test('too many pulls in a second', async (t) => {
  const { docker, ensure, events } = await startImageParts(t, { pullsPerSecond: 5, pullBurst: 1 });
  docker.registry.add('a:1').add('b:1');
  await ensure(podWith('a', 'a:1'));
  const error = (await t.throwsAsync(ensure(podWith('b', 'b:1')))) as Error & { reason?: string };
  t.is(`${error.reason} ${error.message}`, 'ErrImagePull pull QPS exceeded');
  t.true(events.some((event) => event.includes('Failed to pull image "b:1": pull QPS exceeded')));
});

test('a pull without progress is cancelled; one that unpacks is not', async (t) => {
  const { docker, clock, ensure, metric } = await startImageParts(t, { progressDeadlineMs: 60_000 });
  docker.registry.add('a:1');
  const layer = 'a'.repeat(12);
  let tell: (status: string, current?: number) => void = () => {};
  docker.onPull = (_name, { onProgress }, signal) =>
    new Promise((resolve, reject) => {
      signal!.addEventListener('abort', () => reject(signal!.reason));
      tell = (status, current) => {
        onProgress!(line(layer, status, current, 100));
        if (status === 'Pull complete') resolve();
      };
    });
  const begun = (count: number) =>
    eventually('the pull runs', () => docker.calls.filter((call) => call === 'pull a:1').length === count);
  const stalled = ensure(podWith('a', 'a:1'));
  await begun(1);
  await clock.advance(50_000);
  tell('Downloading', 40);
  await clock.advance(55_000);
  t.is(await metric('berth_image_pull_progress_ratio', { image: 'a:1' }), 0.4);
  t.is(await metric('berth_image_pull_downloaded_bytes_total'), 40);
  const failed = t.throwsAsync(stalled, {
    message: `no progress within 60 s, pull cancelled (last: ${layer}: Downloading 40/100)`,
  });
  await clock.advance(15_000);
  await failed;
  t.is(await metric('berth_image_pull_stalls_total'), 1);
  await clock.advance(10_000);
  const unpacking = ensure(podWith('a', 'a:1'));
  await begun(2);
  tell('Extracting', 10);
  await clock.advance(600_000);
  tell('Pull complete');
  await unpacking;
  t.is(clock.pending(), 0);
});

test('a pull whose layers wait in the Engine’s queue lives while another one goes on', async (t) => {
  const { docker, clock, ensure } = await startImageParts(t, { progressDeadlineMs: 60_000, maxParallelPulls: 2 });
  docker.registry.add('a:1').add('b:1');
  const layers = { 'a:1': 'a'.repeat(12), 'b:1': 'b'.repeat(12) } as Record<string, string>;
  const tell = new Map<string, (status: string, current?: number) => void>();
  docker.onPull = (name, { onProgress }, signal) =>
    new Promise((resolve, reject) => {
      signal!.addEventListener('abort', () => reject(signal!.reason));
      tell.set(name, (status, current) => {
        onProgress!(line(layers[name], status, current, 100));
        if (status === 'Pull complete') resolve();
      });
    });
  const busy = ensure(podWith('a', 'a:1'));
  const queued = ensure(podWith('b', 'b:1'));
  await eventually('both run', () => tell.size === 2);
  tell.get('b:1')!('Waiting');
  for (let at = 1; at <= 5; at++) {
    tell.get('a:1')!('Downloading', at);
    await clock.advance(50_000);
  }
  tell.get('a:1')!('Pull complete');
  await busy;
  const failed = t.throwsAsync(queued, {
    message: `no progress within 60 s, pull cancelled (last: ${layers['b:1']}: Waiting)`,
  });
  await clock.advance(80_000);
  await failed;
});

test('a long pull tells how far it is', async (t) => {
  const { docker, clock, ensure, events } = await startImageParts(t);
  docker.registry.add('a:1');
  let finish = () => {};
  docker.onPull = async (_name, { onProgress }) => {
    for (let at = 1; at <= 7; at++) {
      await clock.sleep(10_000);
      onProgress!(line('a'.repeat(12), 'Downloading', at << 20, 10 << 20));
    }
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
  };
  const work = ensure(podWith('a', 'a:1'));
  await eventually('the pull runs', () => docker.calls.includes('pull a:1'));
  await clock.advance(70_000);
  finish();
  await work;
  const told = events.filter((event) => event.includes('downloaded'));
  t.is(told.length, 2);
  t.regex(told[0]!, /Normal Pulling Pulling image "a:1": \d\.0 MiB of 10\.0 MiB downloaded, 0 of 1 layers done/);
});
