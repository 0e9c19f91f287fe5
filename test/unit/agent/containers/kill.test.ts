/** The arithmetic of grace: who is told to stop when, and how long it gets. */
import test from 'ava';
import { createContainerKiller } from '../../../../agent/containers/kill.ts';
import type { Container, Pod } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { podOf } from '../pod.ts';

interface Member {
  /** How long its preStop hook takes; absent: it has none. */
  hookSeconds?: number;
  /** How long it takes to end after the stop signal; SIGKILL comes when its time is over. */
  endSeconds?: number;
  sidecar?: boolean;
}

/** `main@7:23`: told to stop after 7 s, with 23 s to go. */
async function timeline(members: Record<string, Member>, graceSeconds: number) {
  const clock = createFakeClock();
  const beganMs = clock.monotonicMs();
  const seconds = () => Math.round((clock.monotonicMs() - beganMs) / 1000);
  const stops: string[] = [];
  const events: string[] = [];
  const hooks: string[] = [];
  const killer = createContainerKiller({
    docker: {
      async stopContainer(id, stopSeconds) {
        stops.push(`${id}@${seconds()}:${stopSeconds}`);
        await clock.sleep(Math.min(members[id]!.endSeconds ?? 0, stopSeconds) * 1000);
      },
    },
    hooks: {
      async run(_, { containerId, signal }) {
        hooks.push(containerId);
        await clock.sleep((members[containerId]!.hookSeconds ?? 0) * 1000, signal);
      },
    },
    events: { event: (_pod, _type, reason, message) => events.push(`${reason} ${message}`) },
    metrics: { runtimeOperation: (_, call) => call() },
    clock,
    log: silentLogger,
  });
  const specs = Object.entries(members).map(([name, { hookSeconds, sidecar }]): [boolean, Container] => [
    sidecar ?? false,
    {
      name,
      ...(hookSeconds !== undefined && { lifecycle: { preStop: { exec: { command: ['x'] } } } }),
      ...(sidecar && { restartPolicy: 'Always' }),
    },
  ]);
  const of = (wanted: boolean) => specs.filter(([sidecar]) => sidecar === wanted).map(([, spec]) => spec);
  const pod: Pod = podOf({ initContainers: of(true), containers: of(false) });
  const targets = Object.keys(members).map((name) => ({ id: name, name }));
  let isOver = false;
  const killing = killer.killAll(pod, targets, graceSeconds, undefined, new AbortController().signal).finally(() => {
    isOver = true;
  });
  while (!isOver) await clock.advance(100);
  await killing;
  return { stops, events, hooks, tookSeconds: seconds() };
}

const cases: [title: string, members: Record<string, Member>, graceSeconds: number, stops: string[], took: number][] = [
  ['all of it without a hook', { main: { endSeconds: 4 } }, 30, ['main@0:30'], 4],
  ['whole seconds of the hook are taken off', { main: { hookSeconds: 7.9 } }, 30, ['main@8:23'], 8],
  ['a hook that takes all of it leaves two seconds', { main: { hookSeconds: 99, endSeconds: 9 } }, 5, ['main@5:2'], 7],
  ['never less than two seconds', { main: { endSeconds: 9 } }, 1, ['main@0:2'], 2],
  ['no grace, no hook', { main: { hookSeconds: 1, endSeconds: 9 } }, 0, ['main@0:2'], 2],
  [
    'containers are stopped side by side',
    { a: { hookSeconds: 3, endSeconds: 3 }, b: { endSeconds: 5 } },
    30,
    ['b@0:30', 'a@3:27'],
    6,
  ],
  [
    'sidecars one after another, the last first, from what is left',
    { s1: { sidecar: true, endSeconds: 1 }, s2: { sidecar: true, endSeconds: 5 }, main: { endSeconds: 10 } },
    30,
    ['main@0:30', 's2@10:20', 's1@15:15'],
    16,
  ],
  [
    'hooks of sidecars run at once, beside the others',
    { s1: { sidecar: true, hookSeconds: 4 }, main: { endSeconds: 10 } },
    30,
    ['main@0:30', 's1@10:20'],
    10,
  ],
  [
    'a sidecar whose hook takes longer than the others has no turn to wait for',
    { s1: { sidecar: true, hookSeconds: 12 }, main: { endSeconds: 10 } },
    30,
    ['main@0:30', 's1@12:18'],
    12,
  ],
  [
    'when the grace is over, sidecars are ended together',
    {
      s1: { sidecar: true, endSeconds: 9 },
      s2: { sidecar: true, endSeconds: 9 },
      main: { hookSeconds: 9, endSeconds: 9 },
    },
    5,
    ['main@5:2', 's1@5:2', 's2@5:2'],
    7,
  ],
];
for (const [title, members, graceSeconds, stops, took] of cases)
  test(title, async (t) => {
    const result = await timeline(members, graceSeconds);
    t.deepEqual(result.stops.toSorted(), stops.toSorted());
    t.is(result.tookSeconds, took);
    const hooked = Object.entries(members).filter(
      ([, { hookSeconds }]) => hookSeconds !== undefined && graceSeconds > 0,
    );
    t.deepEqual(result.hooks.toSorted(), hooked.map(([name]) => name).toSorted());
    const late = hooked.filter(([, { hookSeconds = 0 }]) => hookSeconds > graceSeconds);
    t.is(result.events.filter((event) => event.startsWith('FailedPreStopHook')).length, late.length);
    t.is(
      result.events.filter((event) => event.startsWith('Killing Stopping container')).length,
      Object.keys(members).length,
    );
  });
