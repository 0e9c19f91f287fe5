/** Pods come, go and ask for more or less, by dice: what is set aside never exceeds the node, and who waits gets what becomes free. */
import test from 'ava';
import type { ResizingNode } from '../../../../../agent/pods/resize/decision.ts';
import { createNodeAdmission } from '../../../../../agent/resources/admission/handlers.ts';
import type { Pod } from '../../../../../src/kube/types.ts';
import { createFakeAgent, until } from '../../fake-agent.ts';
import { pod } from '../story-pods.ts';

const CPU_MILLIS = 4000;
const STEPS = 120;
const RESIZING: ResizingNode = {
  cpuMillis: CPU_MILLIS,
  memoryBytes: 2 ** 40,
  cpuManagerIsStatic: false,
  memoryManagerIsStatic: false,
  maySwap: () => false,
};
const NODE = {
  name: 'node-1',
  labels: {},
  taints: [],
  allocatable: {
    cpuMillis: CPU_MILLIS,
    memoryBytes: 2 ** 40,
    ephemeralStorageBytes: 2 ** 40,
    pods: 110,
    hugepages: new Map<number, number>(),
  },
  allowedUnsafeSysctls: [],
};

/** The same numbers for the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % sides;
  };
}

const sized = (name: string, millis: number, generation: number): Pod =>
  pod(
    {
      containers: [{ name: 'app', image: 'busybox:1', resources: { requests: { cpu: `${millis}m` } } }],
      terminationGracePeriodSeconds: 1,
    },
    { uid: name, name, generation },
  );

for (const seed of [1, 2, 3])
  test(`what is set aside never exceeds the node (seed ${seed})`, async (t) => {
    const roll = dice(seed);
    const agent = await createFakeAgent(t, {
      resizingNode: () => RESIZING,
      admission: createNodeAdmission({ node: () => NODE, preempt: async () => {} }),
    });
    /** What each pod was last asked to be, in thousandths of a CPU. */
    const asked = new Map<string, number>();
    /** What is set aside for pods that the node has taken and that have not ended; their statuses follow a moment later. */
    const promised = () =>
      agent.workers
        .list()
        .filter(({ isAdmitted, state }) => isAdmitted && (state === 'syncing' || state === 'terminating'))
        .map(({ pod: one }) => agent.allocations.allocatedPod(one).spec.containers[0]!.resources!.requests!['cpu']!)
        .reduce((sum, cpu) => sum + Number.parseInt(cpu, 10), 0);
    let most = 0;
    for (let step = 1; step <= STEPS; step++) {
      const names = [...asked.keys()];
      const one = names[roll(Math.max(1, names.length))];
      const what = roll(10);
      if (!one || what < 3) {
        const millis = 100 + roll(15) * 100;
        asked.set(`p${step}`, millis);
        agent.workers.update(sized(`p${step}`, millis, step));
      } else if (what < 8) {
        const millis = 100 + roll(30) * 100;
        asked.set(one, millis);
        agent.workers.update(sized(one, millis, step));
      } else {
        asked.delete(one);
        agent.workers.remove(one);
      }
      await new Promise((resolve) => setTimeout(resolve, roll(8)));
      const now = promised();
      most = Math.max(most, now);
      if (now > CPU_MILLIS) t.fail(`after step ${step} ${now}m are promised`);
    }
    t.true(most > CPU_MILLIS / 2, 'the node was never half full: this proves little');

    const waits = (name: string) =>
      agent.statuses
        .get(name)
        ?.conditions?.some(({ type, reason }) => type === 'PodResizePending' && reason === 'Deferred');
    const isRunning = (name: string) => agent.statuses.get(name)?.phase === 'Running';
    const kept = [...asked.keys()].find(waits) ?? [...asked.keys()].find(isRunning)!;
    for (const name of asked.keys()) if (name !== kept) agent.workers.remove(name);
    await until('the one that stays has what it asked for', () => {
      const actual = agent.statuses.get(kept)?.containerStatuses?.[0]?.resources?.requests?.['cpu'];
      return actual === `${asked.get(kept)}m` && !waits(kept);
    });
  });
