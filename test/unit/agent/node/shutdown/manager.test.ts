import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Logind } from '../../../../../agent/node/shutdown/logind.ts';
import { createNodeShutdown } from '../../../../../agent/node/shutdown/manager.ts';
import type { ShutdownState } from '../../../../../agent/node/shutdown/state.ts';
import type { PodVerdict } from '../../../../../agent/pods/verdict.ts';
import type { Pod } from '../../../../../src/kube/types.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../../fakes/clock.ts';

const PERIODS = [
  { priority: 0, seconds: 20 },
  { priority: 2_000_000_000, seconds: 10 },
];

/** logind as the manager sees it, on a clock of the test; real files for what is real about them. */
function scene(t: ExecutionContext, init: { delayMs?: number; obeys?: boolean; preparing?: boolean } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-shutdown-'));
  const clock = createFakeClock();
  const world = {
    delayMs: init.delayMs ?? 30_000,
    isPreparing: init.preparing ?? false,
    locks: 0,
    connections: 0,
    refuses: undefined as Error | undefined,
    emit: (_: boolean) => {},
    hangUp: (_?: Error) => {},
    refreshes: 0,
    isComplete: true,
  };
  const events: string[] = [];
  const states: ShutdownState[] = [];
  const verdicts = new Map<string, PodVerdict>();
  const ends = new Map<string, () => void>();
  const released = new Set<string>();
  const pods = new Map<string, Pod>();
  const add = (uid: string, priority?: number) =>
    pods.set(uid, { metadata: { uid, name: uid, namespace: 'ns' }, spec: { priority } } as unknown as Pod);
  const stateFile = join(folder, 'graceful_node_shutdown_state');
  const confDir = join(folder, 'conf');

  async function connect(): Promise<Logind> {
    world.connections++;
    if (world.refuses) throw world.refuses;
    let close = (_?: Error) => {};
    const closed = new Promise<Error | undefined>((resolve) => {
      close = resolve;
    });
    world.hangUp = close;
    return {
      inhibitDelayMs: async () => world.delayMs,
      isPreparing: async () => world.isPreparing,
      async inhibit() {
        if (world.isPreparing) throw new Error('under way');
        world.locks++;
        let isHeld = true;
        return {
          release() {
            if (isHeld) world.locks--;
            isHeld = false;
          },
        };
      },
      async reload() {
        if (init.obeys === false) return;
        const text = readFileSync(join(confDir, '99-berth.conf'), 'utf8');
        clock.after(300, () => {
          world.delayMs = Number(/Sec=(\d+)/.exec(text)?.[1]) * 1000;
        });
      },
      async onPrepare(handler) {
        world.emit = (is) => {
          world.isPreparing = is;
          handler(is);
        };
      },
      closed,
      close: () => close(),
    };
  }

  const shutdown = createNodeShutdown(
    { nodeName: 'n1', periods: PERIODS, stateFile, logindConfDir: confDir },
    {
      connect,
      pods: {
        isComplete: () => world.isComplete,
        active: () => [...pods.values()],
        condemn(uid, verdict) {
          verdicts.set(uid, verdict);
          return new Promise((resolve) => ends.set(uid, resolve));
        },
        isReleased: (uid) => released.has(uid),
      },
      refreshNode: () => world.refreshes++,
      events: { event: (_, type, reason, message) => events.push(`${type} ${reason} ${message}`) },
      showState: (state) => states.push(state),
      clock,
      log: silentLogger,
    },
  );
  const stop = new AbortController();
  const done = shutdown.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await clock.advance(0);
    await done;
    rmSync(folder, { recursive: true, force: true });
  });
  const settle = (ms = 0) => clock.advance(ms);
  const end = (uid: string) => {
    released.add(uid);
    ends.get(uid)?.();
  };
  return { clock, world, events, states, verdicts, end, ends, add, shutdown, settle, stateFile, confDir, stop, done };
}

test('takes a lock, ends the pods by priority, gives it back; the node is not Ready and takes no pod meanwhile', async (t) => {
  const { world, events, states, verdicts, end, add, shutdown, settle, stateFile, clock } = scene(t);
  await settle();
  t.is(world.locks, 1);
  t.is(shutdown.problem(), undefined);
  t.is(await shutdown.admission.admit({} as Pod, [], AbortSignal.any([])), undefined);
  add('web');
  add('dns', 2_000_001_000);
  world.emit(true);
  await settle();
  t.is(shutdown.problem(), 'node is shutting down');
  t.true(world.refreshes > 0);
  t.deepEqual(await shutdown.admission.admit({} as Pod, [], AbortSignal.any([])), {
    reason: 'NodeShutdown',
    message: 'Pod was rejected as the node is shutting down.',
  });
  t.deepEqual([...verdicts.keys()], ['web'], 'the critical one lives on');
  t.deepEqual(verdicts.get('web'), {
    phase: 'Failed',
    reason: 'Terminated',
    message: 'Pod was terminated in response to imminent node shutdown.',
    graceSeconds: 20,
    condition: {
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'TerminationByKubelet',
      message: 'Pod was terminated in response to imminent node shutdown.',
    },
  });
  t.deepEqual(JSON.parse(readFileSync(stateFile, 'utf8')).endTime, '0001-01-01T00:00:00Z');
  t.is(world.locks, 1);
  end('web');
  await settle(5000);
  t.deepEqual([...verdicts.keys()], ['web', 'dns'], 'its turn comes when nothing is left of the first');
  t.is(verdicts.get('dns')?.graceSeconds, 10);
  end('dns');
  await settle(1000);
  t.is(world.locks, 0, 'the shutdown goes on');
  t.is(shutdown.problem(), 'node is shutting down');
  t.deepEqual(events, ['Normal NodeShutdown Shutdown manager detected shutdown event']);
  t.true(states.at(-1)!.endMs! >= states.at(-1)!.startMs! + 5000);
  t.true(states.at(-1)!.endMs! <= clock.nowMs());
});

test('a step whose time is up is followed by the next; a container that ends is not enough while volumes are mounted', async (t) => {
  const { world, verdicts, ends, add, settle } = scene(t);
  await settle();
  add('stubborn');
  add('critical', 2_000_000_000);
  world.emit(true);
  await settle();
  await settle(5000);
  ends.get('stubborn')?.();
  await settle(14_000);
  t.false(verdicts.has('critical'), 'its containers have ended, its volumes have not');
  await settle(1500);
  t.true(verdicts.has('critical'));
  t.is(world.locks, 1);
  await settle(11_000);
  t.is(world.locks, 0, 'nobody holds a shutdown longer than was asked for');
});

test('steps without pods take no time', async (t) => {
  const { world, settle } = scene(t);
  await settle();
  world.emit(true);
  await settle();
  t.is(world.locks, 0);
});

test('a shutdown that was called off: the next step is not taken, the lock is taken again, the node is Ready', async (t) => {
  const { world, events, verdicts, add, shutdown, settle } = scene(t);
  await settle();
  add('web');
  add('dns', 2_000_000_000);
  world.emit(true);
  await settle(1000);
  world.emit(false);
  await settle(60_000);
  t.deepEqual([...verdicts.keys()], ['web']);
  t.is(shutdown.problem(), undefined);
  t.is(world.locks, 1);
  t.is(events.at(-1), 'Normal NodeShutdown Shutdown manager detected shutdown cancellation');
  world.emit(true);
  await settle(1000);
  t.is(shutdown.problem(), 'node is shutting down', 'the next one counts');
});

test('logind waits too short by default: an addition to its configuration, and it is told', async (t) => {
  const { world, settle, confDir, events } = scene(t, { delayMs: 5000 });
  await settle();
  for (let turn = 0; turn < 6; turn++) await settle(100);
  t.is(world.delayMs, 30_000);
  t.is(world.locks, 1);
  t.true(existsSync(join(confDir, '99-berth.conf')));
  t.deepEqual(events, []);
});

test('a logind that does not take it: said, and the lock is held for what there is', async (t) => {
  const { world, settle, events } = scene(t, { delayMs: 5000, obeys: false });
  await settle();
  for (let turn = 0; turn < 60; turn++) await settle(100);
  t.is(world.locks, 1);
  t.is(events.length, 1);
  t.regex(
    events[0]!,
    /^Warning NodeShutdown logind waits at most 5s .* asks for 30s: set InhibitDelayMaxSec=30 in logind\.conf$/,
  );
});

test('an agent that starts in the middle of a shutdown goes on with it', async (t) => {
  const { world, shutdown, settle, states } = scene(t, { preparing: true });
  await settle();
  t.is(shutdown.problem(), 'node is shutting down');
  t.is(world.locks, 0);
  t.true(states.some(({ endMs }) => endMs !== undefined));
});

test('an agent that has just started waits for its sources before it thinks that there are no pods', async (t) => {
  const { world, verdicts, add, settle, states } = scene(t, { preparing: true });
  world.isComplete = false;
  await settle();
  await settle(3000);
  t.is(states.at(-1)?.endMs, undefined);
  add('web');
  world.isComplete = true;
  await settle(200);
  t.deepEqual([...verdicts.keys()], ['web']);
});

test('a bus that hangs up is called again; the lock is held all the while', async (t) => {
  const { world, settle, shutdown } = scene(t);
  await settle();
  world.refuses = new Error('connect ENOENT');
  world.hangUp(new Error('EOF'));
  await settle(10_000);
  t.is(world.locks, 1);
  t.true(world.connections >= 3);
  world.refuses = undefined;
  await settle(40_000);
  t.is(world.locks, 1, 'the new one in place of the old');
  world.emit(true);
  await settle();
  t.is(shutdown.problem(), 'node is shutting down');
});

test('a shutdown that was called off while the bus was away is found out', async (t) => {
  const { world, settle, shutdown, add } = scene(t);
  await settle();
  add('web');
  world.emit(true);
  await settle();
  world.hangUp();
  world.isPreparing = false;
  await settle(2000);
  t.is(shutdown.problem(), undefined);
  t.is(world.locks, 1);
});

test('the end of the agent gives the lock back', async (t) => {
  const { world, settle, stop, done } = scene(t);
  await settle();
  stop.abort();
  await settle();
  await done;
  t.is(world.locks, 0);
});
