/** R13: the wall clock is set three hours forward or back while the agent runs. Durations come from the monotonic clock, so nothing happens sooner or later. */
import test from 'ava';
import { createCrashBackoff } from '../../../agent/containers/crash-backoff.ts';
import { createRuntimeMonitor } from '../../../agent/node/runtime-monitor.ts';
import { createServiceAccountTokens } from '../../../agent/volumes/tokens.ts';
import { createLeaseKeeper } from '../../../src/kube/lease.ts';
import { createAge } from '../../../src/runtime/age.ts';
import { createHeartbeats } from '../../../src/runtime/heartbeat.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../fakes/clock.ts';
import { createFakeDocker } from '../../fakes/docker.ts';
import { podOf } from './pod.ts';

const HOURS_3 = 3 * 3_600_000;
const JUMPS = { forward: HOURS_3, back: -HOURS_3 };

for (const [direction, jumpMs] of Object.entries(JUMPS)) {
  test(`R13: ${direction} 3 h: an age goes on as if nothing had happened`, async (t) => {
    const clock = createFakeClock();
    const age = createAge(clock);
    const atMs = clock.nowMs() - 5_000;
    t.is(age(atMs), 5_000);
    clock.step(jumpMs);
    await clock.advance(1_000);
    t.is(age(atMs), 6_000);
  });

  test(`R13: ${direction} 3 h: the lease is renewed every ten seconds`, async (t) => {
    const clock = createFakeClock();
    const renewals: number[] = [];
    const lease = { metadata: { name: 'n', resourceVersion: '1' }, spec: {} };
    const renew = async () => {
      renewals.push(clock.monotonicMs());
      return lease;
    };
    const keeper = createLeaseKeeper(
      { namespace: 'kube-node-lease', name: 'n', holderIdentity: 'n', durationSeconds: 40 },
      {
        client: { get: renew, create: renew, replace: renew } as never,
        clock,
        log: silentLogger,
        random: () => 0,
      },
    );
    const stop = new AbortController();
    const running = keeper.run(stop.signal);
    await clock.advance(25_000);
    clock.step(jumpMs);
    renewals.length = 0;
    await clock.advance(60_000);
    t.true(renewals.length >= 5 && renewals.length <= 7, `${renewals.length} renewals in a minute`);
    stop.abort();
    await running;
  });

  test(`R13: ${direction} 3 h: a crashing container waits its back-off, neither less nor more`, async (t) => {
    const clock = createFakeClock();
    const crashes = createCrashBackoff({ initialMs: 10_000, maxMs: 300_000 }, clock);
    crashes.restarted('k', clock.nowMs());
    const finishedAtMs = clock.nowMs();
    t.is(crashes.delay('k', finishedAtMs, clock.nowMs())!.untilMs - clock.nowMs(), 10_000);
    await clock.advance(4_000);
    clock.step(jumpMs);
    t.is(crashes.delay('k', finishedAtMs, clock.nowMs())!.untilMs - clock.nowMs(), 6_000);
    await clock.advance(6_000);
    t.is(crashes.delay('k', finishedAtMs, clock.nowMs()), undefined);
  });

  test(`R13: ${direction} 3 h: the runtime and the loops are not called silent`, async (t) => {
    const clock = createFakeClock();
    const heartbeats = createHeartbeats(clock);
    const beat = heartbeats.register('relist', 180_000);
    const monitor = createRuntimeMonitor({
      docker: createFakeDocker(),
      clock,
      log: silentLogger,
    });
    const stop = new AbortController();
    const running = monitor.run(stop.signal);
    await clock.advance(5_000);
    beat();
    clock.step(jumpMs);
    await clock.advance(1_000);
    t.is(monitor.problem(), undefined);
    t.deepEqual(heartbeats.overdue(), []);
    stop.abort();
    await running;
  });
}

test('R13: back 3 h: a service account token is still renewed in time', async (t) => {
  const clock = createFakeClock();
  let requests = 0;
  const tokens = createServiceAccountTokens({
    client: {
      create: async () => {
        const expirationTimestamp = new Date(clock.nowMs() + 3600_000).toISOString();
        return { spec: { expirationSeconds: 3600 }, status: { token: `token-${++requests}`, expirationTimestamp } };
      },
    } as never,
    clock,
    log: silentLogger,
    random: () => 0,
  });
  const pod = podOf();
  const projection = { path: 'token', expirationSeconds: 3600 };
  t.is(await tokens.token(pod, projection), 'token-1');
  clock.step(-HOURS_3);
  await clock.advance(2_879_000);
  t.is(await tokens.token(pod, projection), 'token-1');
  await clock.advance(1_000);
  t.is(await tokens.token(pod, projection), 'token-2');
});

test('an Engine without an answer is down after 30 s, and up with its next answer', async (t) => {
  const clock = createFakeClock();
  const engine = createFakeDocker();
  let isBroken = false;
  let verdicts = 0;
  const monitor = createRuntimeMonitor({
    docker: {
      async version() {
        if (isBroken) throw new Error('500 for everything');
        return engine.version();
      },
      async ping() {
        if (isBroken) throw new Error('500 for everything');
      },
    },
    clock,
    log: silentLogger,
    onChange: () => verdicts++,
  });
  const stop = new AbortController();
  const running = monitor.run(stop.signal);
  await settle();
  t.is(monitor.problem(), undefined);
  isBroken = true;
  await clock.advance(29_000);
  t.is(monitor.problem(), undefined);
  await clock.advance(7_000);
  t.is(monitor.problem(), 'container runtime is down');
  isBroken = false;
  await clock.advance(5_000);
  t.is(monitor.problem(), undefined);
  t.is(verdicts, 3);
  stop.abort();
  await running;
});
