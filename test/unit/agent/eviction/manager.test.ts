import test, { type ExecutionContext } from 'ava';
import {
  createEvictionManager,
  type EvictionDependencies,
  type EvictionOptions,
} from '../../../../agent/eviction/manager.ts';
import { parseThresholds } from '../../../../agent/eviction/thresholds.ts';
import type { PodVerdict } from '../../../../agent/pods/verdict.ts';
import type { PodStats, SummaryOptions } from '../../../../agent/stats/summary.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { fsWith, GI, MI, type NodeLevels, namedPod, statsOf, summaryOf, type Use } from './stats.ts';

const THRESHOLDS = parseThresholds(
  {
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '10%', 'imagefs.available': '15%' },
    evictionSoft: { 'memory.available': '1Gi' },
    evictionSoftGracePeriod: { 'memory.available': '30s' },
    evictionMinimumReclaim: {},
  },
  true,
);

interface World {
  levels: NodeLevels;
  pods: Map<Pod, Use>;
  /** What reclaim makes of the node. */
  reclaimTo?: NodeLevels;
  /** What the end of a pod makes of it. */
  freedTo?: NodeLevels;
  diskLayout?: 'shared' | 'imagefs';
  statsFail?: boolean;
}

/** A node that the test changes as it goes; condemned pods end and vanish at once unless they are kept. */
function start(
  t: ExecutionContext,
  world: World,
  options: Partial<EvictionOptions> = {},
  deps: Partial<EvictionDependencies> = {},
) {
  const clock = createFakeClock();
  const log: string[] = [];
  const verdicts = new Map<string, PodVerdict>();
  const annotations: Record<string, string>[] = [];
  const asked: (SummaryOptions | undefined)[] = [];
  const counted: string[] = [];
  const kept = new Set<string>();
  const reclaim = (what: string) => async () => {
    log.push(what);
    if (world.reclaimTo) world.levels = world.reclaimTo;
  };
  const manager = createEvictionManager(
    {
      thresholds: THRESHOLDS,
      transitionPeriodMs: 300_000,
      maxPodGraceSeconds: 20,
      enforceLocalStorage: true,
      ...options,
    },
    {
      stats: {
        async summary(one) {
          asked.push(one);
          if (world.statsFail) throw new Error('no statistics');
          const pods = [...world.pods].map(([pod, use]): PodStats => statsOf(pod, use));
          return summaryOf(world.levels, pods);
        },
      },
      diskLayout: async () => world.diskLayout ?? 'shared',
      candidates: () => [...world.pods.keys()].filter(({ metadata }) => !verdicts.has(metadata.uid)),
      async condemn(uid, verdict) {
        log.push(`condemn ${uid}`);
        verdicts.set(uid, verdict);
        if (world.freedTo) world.levels = world.freedTo;
        if (kept.has(uid)) return;
        for (const pod of world.pods.keys()) if (pod.metadata.uid === uid) world.pods.delete(pod);
      },
      isGone: (uid) => !kept.has(uid),
      async holdMemory(pod) {
        log.push(`hold ${pod.metadata.uid}`);
      },
      reclaim: { deleteDeadContainers: reclaim('dead containers'), deleteUnusedImages: reclaim('unused images') },
      tellPod(pod, message, notes) {
        log.push(`event ${pod.metadata.uid}`);
        annotations.push(notes);
        t.regex(message, /\. $/);
      },
      tellNode: (reason, message) => log.push(`${reason}: ${message}`),
      onConditions: () => log.push(`conditions ${[...manager.conditions()].join(' ')}`.trim()),
      metrics: { evicted: (signal) => counted.push(signal), statsAge: (signal) => counted.push(`age ${signal}`) },
      clock,
      log: silentLogger,
      ...deps,
    },
  );
  const stop = new AbortController();
  const running = manager.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  return { clock, log, verdicts, annotations, asked, counted, kept, manager };
}

const pods = (...entries: [Pod, Use][]) => new Map(entries);

test('memory: the greediest goes within a second, held to what it has; then the node is looked at again at once', async (t) => {
  const greedy = namedPod('greedy');
  const modest = namedPod('modest');
  const world: World = {
    levels: { memoryAvailable: 50 * MI },
    freedTo: {},
    pods: pods([modest, { memory: MI }], [greedy, { memory: GI }]),
  };
  const { clock, log, verdicts, counted, asked, annotations } = start(t, world);
  await clock.advance(0);
  t.deepEqual(log, [
    'conditions MemoryPressure',
    'EvictionThresholdMet: Attempting to reclaim memory',
    'hold greedy',
    'event greedy',
    'condemn greedy',
  ]);
  t.like(verdicts.get('greedy'), { phase: 'Failed', reason: 'Evicted', graceSeconds: 1 });
  t.like(verdicts.get('greedy')!.condition, { type: 'DisruptionTarget', reason: 'TerminationByKubelet' });
  t.is(annotations[0]!['offending_containers'], 'app');
  t.deepEqual(counted, ['age memory.available', 'memory.available']);
  t.is(asked.length, 2);
});

test('one pod at a time: the next goes only when the first has left nothing behind', async (t) => {
  const world: World = {
    levels: { memoryAvailable: 50 * MI },
    pods: pods([namedPod('a'), { memory: GI }], [namedPod('b'), { memory: 2 * GI }]),
  };
  const all = start(t, world);
  all.kept.add('b');
  await all.clock.advance(29_000);
  t.deepEqual([...all.verdicts.keys()], ['b']);
  all.kept.delete('b');
  await all.clock.advance(250);
  t.deepEqual([...all.verdicts.keys()], ['b', 'a']);
});

test('R12: images and dead containers go first, and no pod when that is enough', async (t) => {
  const world: World = {
    levels: { nodeFs: fsWith(0.05) },
    reclaimTo: {},
    pods: pods([namedPod('a'), { disk: { app: [GI, GI] } }]),
  };
  const { clock, log, verdicts, manager } = start(t, world);
  await clock.advance(0);
  t.deepEqual(log, [
    'conditions DiskPressure',
    'EvictionThresholdMet: Attempting to reclaim ephemeral-storage',
    'dead containers',
    'unused images',
  ]);
  await clock.advance(60_000);
  t.is(verdicts.size, 0);
  t.deepEqual([...manager.conditions()], ['DiskPressure'], 'for the transition period');
  await clock.advance(240_000);
  t.deepEqual([...manager.conditions()], []);
  t.is(log.filter((line) => line.startsWith('conditions')).length, 2, 'no flapping');
});

test('R12: a pod goes when reclaim was not enough', async (t) => {
  const world: World = {
    levels: { nodeFs: fsWith(0.05) },
    pods: pods([namedPod('small'), { disk: { app: [MI, 0] } }], [namedPod('large'), { disk: { app: [GI, 0] } }]),
  };
  const { clock, log, verdicts } = start(t, world);
  await clock.advance(0);
  t.is([...verdicts.keys()][0], 'large');
  t.true(log.indexOf('unused images') < log.indexOf('condemn large'));
});

test('R12: a level that swings around the threshold changes the condition twice, not with every swing', async (t) => {
  const world: World = { levels: {}, pods: pods() };
  const { clock, log } = start(t, world);
  for (let swing = 0; swing < 60; swing++) {
    world.levels = swing % 2 ? {} : { nodeFs: fsWith(0.099) };
    await clock.advance(10_000);
  }
  world.levels = {};
  await clock.advance(310_000);
  t.deepEqual(
    log.filter((line) => line.startsWith('conditions')),
    ['conditions DiskPressure', 'conditions'],
  );
});

test('R12: critical pods are spared, whatever they use', async (t) => {
  const critical = namedPod('critical', { priority: 2_000_000_000 });
  const isStatic = namedPod('static', {}, { annotations: { 'kubernetes.io/config.source': 'file' } });
  const world: World = {
    levels: { memoryAvailable: 0 },
    pods: pods([critical, { memory: 5 * GI }], [isStatic, { memory: 5 * GI }], [namedPod('plain'), { memory: 1 }]),
  };
  const { clock, verdicts } = start(t, world);
  await clock.advance(100_000);
  t.deepEqual([...verdicts.keys()], ['plain']);
});

test('nothing can be reclaimed on the file system of the agent when images lie elsewhere', async (t) => {
  const volume = { volumes: [{ name: 'v', emptyDir: {} }] };
  const world: World = {
    levels: { nodeFs: fsWith(0.05), imageFs: fsWith(0.5) },
    diskLayout: 'imagefs',
    pods: pods([namedPod('layers'), { disk: { app: [GI, 0] } }], [namedPod('volume', volume), { volumes: { v: MI } }]),
  };
  const { clock, log, verdicts } = start(t, world);
  await clock.advance(0);
  t.is([...verdicts.keys()][0], 'volume');
  t.false(log.includes('unused images'));
});

test('a soft threshold costs a pod only after its grace, and gives it time to end', async (t) => {
  const world: World = { levels: { memoryAvailable: GI / 2 }, pods: pods([namedPod('a'), { memory: GI }]) };
  const { clock, log, verdicts, manager } = start(t, world);
  await clock.advance(29_000);
  t.deepEqual([...manager.conditions()], ['MemoryPressure']);
  t.is(verdicts.size, 0);
  await clock.advance(1_001);
  t.is(verdicts.get('a')!.graceSeconds, 20);
  t.false(log.includes('hold a'));
});

test('a negative maximum leaves the pod its own grace at a soft threshold', async (t) => {
  const world: World = { levels: { memoryAvailable: GI / 2 }, pods: pods([namedPod('a'), { memory: GI }]) };
  const { clock, verdicts } = start(t, world, { maxPodGraceSeconds: -1 });
  await clock.advance(31_000);
  t.is(verdicts.get('a')!.graceSeconds, undefined);
});

test('low memory is looked at between the regular looks, at memory alone', async (t) => {
  const world: World = { levels: {}, pods: pods([namedPod('a'), { memory: GI }]) };
  const { clock, asked, verdicts, manager } = start(t, world);
  await clock.advance(2_000);
  t.deepEqual(asked, [{ maxAgeMs: 0, onlyCpuAndMemory: false }]);
  world.levels = { podsAvailable: 50 * MI };
  manager.memoryIsLow();
  await clock.advance(1);
  t.deepEqual(asked[1], { maxAgeMs: 0, onlyCpuAndMemory: true });
  t.deepEqual([...verdicts.keys()], ['a']);
  t.deepEqual([...manager.conditions()], ['MemoryPressure']);
});

test('low memory that lasts does not put off the regular looks, nor tells people each time', async (t) => {
  const world: World = { levels: { memoryAvailable: 0 }, pods: pods() };
  const { clock, asked, log, manager } = start(t, world);
  for (let second = 0; second < 30; second++) {
    manager.memoryIsLow();
    await clock.advance(1000);
  }
  t.is(asked.filter((one) => !one!.onlyCpuAndMemory).length, 3);
  t.true(asked.length >= 29);
  t.is(log.filter((line) => line.startsWith('EvictionThresholdMet')).length, 3);
});

test('all pods that break their own limits go at once, without a condition, critical ones excepted', async (t) => {
  const volume = (name: string, spec = {}) =>
    namedPod(name, { volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }], ...spec });
  const world: World = {
    levels: {},
    pods: pods(
      [volume('a'), { volumes: { v: 2 * MI } }],
      [volume('b'), { volumes: { v: 2 * MI } }],
      [volume('c'), { volumes: { v: MI } }],
      [volume('critical', { priority: 2_000_000_000 }), { volumes: { v: 2 * MI } }],
    ),
  };
  const { clock, verdicts, counted, manager } = start(t, world);
  await clock.advance(0);
  t.deepEqual([...verdicts.keys()], ['a', 'b']);
  t.is(verdicts.get('a')!.message, 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ');
  t.is(verdicts.get('a')!.graceSeconds, 1);
  t.is(verdicts.get('a')!.condition, undefined, 'the pod itself is to blame');
  t.deepEqual(counted, ['emptydirfs.limit', 'emptydirfs.limit']);
  t.is(manager.conditions().size, 0);
});

test('localStorageCapacityIsolation off: limits on local disk cost nobody', async (t) => {
  const pod = namedPod('a', { volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }] });
  const world: World = { levels: {}, pods: pods([pod, { volumes: { v: 2 * MI } }]) };
  const { clock, verdicts } = start(t, world, { enforceLocalStorage: false });
  await clock.advance(30_000);
  t.is(verdicts.size, 0);
});

test('without thresholds and limits nothing is measured', async (t) => {
  const { clock, asked } = start(t, { levels: {}, pods: pods() }, { thresholds: [], enforceLocalStorage: false });
  await clock.advance(60_000);
  t.is(asked.length, 0);
});

test('statistics that fail, and a pod that does not end, stop nothing', async (t) => {
  const world: World = { levels: { memoryAvailable: 0 }, statsFail: true, pods: pods([namedPod('a'), { memory: 1 }]) };
  const never = new Promise<void>(() => {});
  const condemned: string[] = [];
  const { clock, kept, asked } = start(
    t,
    world,
    {},
    {
      condemn(uid) {
        condemned.push(uid);
        return never;
      },
    },
  );
  kept.add('a');
  await clock.advance(10_000);
  world.statsFail = false;
  await clock.advance(10_000);
  t.deepEqual(condemned, ['a']);
  const looks = asked.length;
  // 10 s for its end, 30 s for what it leaves behind.
  await clock.advance(45_000);
  t.true(asked.length > looks);
});
