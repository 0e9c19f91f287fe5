/** A resize on the real files of cgroup v2: nothing exceeds its pod on the way, and nobody is killed for memory that is in use. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { createResizeActuator } from '../../agent/pods/resize/actuate.ts';
import { createAllocations } from '../../agent/resources/allocation/allocations.ts';
import { allocationOf } from '../../agent/resources/allocation/pod-allocation.ts';
import { createPodResources } from '../../agent/resources/pod-resources.ts';
import { type Cgroups, openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { podOf, resources } from '../unit/agent/pod.ts';

const MIB = 2 ** 20;
const ID = '0123';
const capacity = {
  cpuMillis: 2000,
  memoryBytes: 1024 * MIB,
  ephemeralStorageBytes: 0,
  pods: 110,
  pids: 1000,
  hugepages: new Map<number, number>(),
};
let cgroups: Cgroups;
let branch = '';
let made = 0;

test.before(async () => {
  cgroups = await openCgroups();
});
test.beforeEach(() => {
  branch = `/berth-resize-${process.pid}-${made++}`;
});
test.afterEach.always(() => cgroups.remove(branch));

const pod = (cpu: string, memory: string) =>
  podOf({ containers: [{ name: 'app', image: 'i', resources: resources(`${cpu}/${cpu}`, `${memory}/${memory}`) }] });

/** A pod with one container, whose cgroup is written as the Engine would. */
async function start(before: ReturnType<typeof pod>) {
  const node = createPodResources(
    {
      driver: 'cgroupfs',
      cgroupRoot: branch,
      capacity,
      unreserved: capacity,
      allocatable: capacity,
      enforcePods: true,
      canLowerOomScore: true,
      cpuCfsQuota: true,
      cpuCfsQuotaPeriodUs: 100_000,
      podPidsLimit: -1,
    },
    { cgroups },
  );
  const { uid } = before.metadata;
  const podPath = `${branch}/kubepods/pod${uid}`;
  const path = `${podPath}/${ID}`;
  await node.ensureNode();
  await node.ensurePod(before);
  const limits = async (of: string) =>
    Promise.all([
      cgroups.read(of, 'cpu', 'cpu.max').then((text) => Number(text!.split(' ')[0])),
      cgroups.read(of, 'memory', 'memory.max').then(Number),
    ]);
  const problems: string[] = [];
  async function updateContainer(_id: string, { CpuQuota, CpuPeriod, Memory }: Record<string, unknown>) {
    await cgroups.ensure(path, {
      cpuQuotaUs: CpuQuota as number,
      cpuPeriodUs: CpuPeriod as number,
      memoryBytes: Memory as number,
    });
    const [own, whole] = [await limits(path), await limits(podPath)];
    own.forEach((limit, index) => {
      if (limit > whole[index]!) problems.push(`${own} exceeds its pod's ${whole}`);
    });
  }
  await updateContainer(ID, { ...node.containerResources(before, 'app') });
  const allocations = createAllocations({ actuated: new Map([[uid, allocationOf(before)]]) });
  const actuator = createResizeActuator({
    docker: { updateContainer: (id, given) => updateContainer(id, { ...given }) },
    resources: node,
    allocations,
    metrics: { actuated() {} },
    clock: systemClock,
  });
  const observed = {
    uid,
    name: 'web',
    namespace: 'default',
    ips: [],
    sandboxes: [],
    containers: [{ id: ID, name: 'app', state: 'running' as const }],
  };
  return {
    path,
    problems,
    resize: (after: ReturnType<typeof pod>) =>
      actuator.actuate(after, [{ id: ID, name: 'app' }], observed as never, new AbortController().signal),
    async both() {
      return { container: await limits(path), pod: await limits(podPath) };
    },
  };
}

test.serial('up, down and both at once: the container never exceeds its pod', async (t) => {
  const one = await start(pod('200m', '32Mi'));
  for (const [cpu, memory] of [
    [400, 64],
    [100, 16],
    [300, 8],
    [200, 128],
  ] as const) {
    await one.resize(pod(`${cpu}m`, `${memory}Mi`));
    const limits = [cpu * 100, memory * MIB];
    t.deepEqual(await one.both(), { container: limits, pod: limits });
  }
  t.deepEqual(one.problems, []);
});

test.serial('memory that is in use is not taken away: refused, and nobody is killed', async (t) => {
  const one = await start(pod('500m', '96Mi'));
  const hog = spawn('/bin/sh', [
    '-c',
    // `tail` keeps a line whose end does not come.
    `echo $$ >/sys/fs/cgroup${one.path}/cgroup.procs && (head -c 20m /dev/zero; sleep 60) | tail -n 1`,
  ]);
  try {
    for (let tries = 0; Number(await cgroups.read(one.path, 'memory', 'memory.current')) < 18 * MIB; tries++) {
      if (tries > 300) throw new Error('it does not use its memory');
      await sleep(100);
    }
    await t.throwsAsync(one.resize(pod('500m', '8Mi')), {
      message: /^cannot decrease memory limits: .*container "app" memory limit \(8388608\) below current usage \(\d+\)/,
    });
    t.deepEqual((await one.both()).container[1], 96 * MIB);
    t.regex((await cgroups.read(one.path, 'memory', 'memory.events'))!, /^oom_kill 0$/m);
    t.is(hog.exitCode, null);
  } finally {
    hog.kill('SIGKILL');
  }
});
