/** Limits on the real files of cgroup v2, and what the kernel makes of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import test from 'ava';
import { parseSystemOom } from '../../agent/node/system-oom.ts';
import { createPodResources, type PodResourcesOptions } from '../../agent/resources/pod-resources.ts';
import { type Cgroups, openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { run } from '../../src/linux/exec.ts';
import { openKernelLog } from '../../src/linux/kernel-log.ts';
import { readSwapDevices } from '../../src/linux/swap.ts';
import { podOf, resources } from '../unit/agent/pod.ts';

const MIB = 2 ** 20;
const ROOT = '/sys/fs/cgroup';
const sleep = promisify(setTimeout);
let cgroups: Cgroups;
/** A branch of each test's own. */
let branch = '';
let made = 0;

test.before(async () => {
  cgroups = await openCgroups();
});
test.beforeEach(() => {
  branch = `/berth-${process.pid}-${made++}`;
});
test.afterEach.always(() => cgroups.remove(branch));

/** Starts a shell script inside a cgroup. */
function inside(path: string, script: string) {
  return spawn('/bin/sh', ['-c', `echo $$ >${ROOT}${path}/cgroup.procs && ${script}`], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

async function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  const [code, signal] = await once(child, 'exit');
  return { code, signal };
}

/** Reads zeros into its memory: `head` of one line without an end. */
const allocate = (mib: number) => `head -c ${mib}m /dev/zero | tail -n 1 >/dev/null`;

async function eventsOf(path: string, file = 'memory.events'): Promise<Record<string, number>> {
  const text = (await cgroups.read(path, 'memory', file)) ?? '';
  return Object.fromEntries(text.split('\n').map((line) => [line.split(' ')[0], Number(line.split(' ')[1])]));
}

const capacity = {
  cpuMillis: 2000,
  memoryBytes: 1024 * MIB,
  ephemeralStorageBytes: 0,
  pods: 110,
  pids: 1000,
  hugepages: new Map<number, number>(),
};
const nodeOptions = (more: Partial<PodResourcesOptions> = {}): PodResourcesOptions => ({
  driver: 'cgroupfs',
  cgroupRoot: branch,
  capacity,
  unreserved: { ...capacity, cpuMillis: 1500, memoryBytes: 768 * MIB, pids: 900 },
  allocatable: { ...capacity, memoryBytes: 668 * MIB },
  enforcePods: true,
  canLowerOomScore: true,
  cpuCfsQuota: true,
  cpuCfsQuotaPeriodUs: 100_000,
  podPidsLimit: 77,
  v2: {
    swap: { behavior: 'NoSwap', totalBytes: 0, memoryBytes: capacity.memoryBytes },
    singleProcessOomKill: false,
    memoryQos: { throttlingFactor: 0.9, reservation: 'TieredReservation', allocatableBytes: 668 * MIB },
  },
  ...more,
});
const burstable = podOf({ containers: [{ name: 'a', resources: resources('250m/500m', '64Mi/128Mi') }] }, { uid: 'b' });
const guaranteed = podOf({ containers: [{ name: 'a', resources: resources('/300m', '/32Mi') }] }, { uid: 'g' });
const bestEffort = podOf({}, { uid: 'e' });

/** Files of one cgroup below the branch, in words. */
async function files(path: string, names: string[]): Promise<Record<string, string | undefined>> {
  const texts = await Promise.all(names.map((name) => cgroups.read(`${branch}${path}`, 'memory', name)));
  return Object.fromEntries(names.map((name, index) => [name, texts[index]]));
}

test.serial('the whole hierarchy in the files of cgroup v2', async (t) => {
  const node = createPodResources(nodeOptions(), { cgroups });
  await node.ensureNode();
  for (const pod of [burstable, guaranteed, bestEffort]) await node.ensurePod(pod);
  t.deepEqual(await files('/kubepods', ['cpu.weight', 'memory.max', 'memory.min', 'memory.low', 'pids.max']), {
    'cpu.weight': '59',
    'memory.max': String(768 * MIB),
    'memory.min': String(32 * MIB),
    'memory.low': String(64 * MIB),
    'pids.max': '900',
  });
  t.deepEqual(await files('/kubepods/burstable', ['cpu.weight', 'memory.max', 'memory.low']), {
    'cpu.weight': '10',
    'memory.max': 'max',
    'memory.low': String(64 * MIB),
  });
  t.deepEqual(await files('/kubepods/besteffort', ['cpu.weight', 'memory.low']), {
    'cpu.weight': '1',
    'memory.low': '0',
  });
  const ofPod = ['cpu.weight', 'cpu.max', 'memory.min', 'memory.low', 'memory.max', 'memory.swap.max', 'pids.max'];
  t.deepEqual(await files('/kubepods/burstable/podb', ofPod), {
    'cpu.weight': '10',
    'cpu.max': '50000 100000',
    'memory.min': '0',
    'memory.low': String(64 * MIB),
    'memory.max': String(128 * MIB),
    'memory.swap.max': '0',
    'pids.max': '77',
  });
  t.deepEqual(await files('/kubepods/podg', ofPod), {
    'cpu.weight': '12',
    'cpu.max': '30000 100000',
    'memory.min': String(32 * MIB),
    'memory.low': '0',
    'memory.max': String(32 * MIB),
    'memory.swap.max': '0',
    'pids.max': '77',
  });
  t.deepEqual(await files('/kubepods/besteffort/pode', ['cpu.weight', 'cpu.max', 'memory.max']), {
    'cpu.weight': '1',
    'cpu.max': 'max 100000',
    'memory.max': 'max',
  });

  // As a container's, which the Engine makes.
  await cgroups.ensure(`${branch}/kubepods/burstable/podb/0123`, {});
  await node.limitContainer(burstable, 'a', '0123');
  t.deepEqual(
    await files('/kubepods/burstable/podb/0123', ['memory.oom.group', 'memory.swap.max', 'memory.low', 'memory.high']),
    {
      'memory.oom.group': '1',
      'memory.swap.max': '0',
      'memory.low': String(64 * MIB),
      'memory.high': String(Math.floor(((64 + 0.9 * 64) * MIB) / 4096) * 4096),
    },
  );
  await node.limitContainer(burstable, 'a', 'ended');

  // Somebody else's hand, a configuration that no longer asks for it, a pod that is gone.
  await cgroups.update(`${branch}/kubepods`, { cpuShares: 2, pids: 5 });
  const later = createPodResources(nodeOptions({ v2: { ...nodeOptions().v2!, memoryQos: undefined } }), { cgroups });
  for (const pod of [burstable, guaranteed]) await later.ensurePod(pod);
  await later.enforceNode();
  t.deepEqual(await files('/kubepods', ['cpu.weight', 'memory.min', 'memory.low', 'pids.max']), {
    'cpu.weight': '59',
    'memory.min': '0',
    'memory.low': '0',
    'pids.max': '900',
  });
  t.like(await files('/kubepods/podg', ['memory.min']), { 'memory.min': '0' });
  await later.retain(new Set(['b', 'g']));
  t.false(await later.podExists(bestEffort));
});

test.serial('out of memory, the group ends together; else only the process that was picked', async (t) => {
  for (const oomGroup of [true, false]) {
    const path = `${branch}/group-${oomGroup}`;
    await cgroups.ensure(path, { memoryBytes: 24 * MIB, swapBytes: 0, oomGroup });
    const child = inside(path, `${allocate(64)}; echo survived`);
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
    const { code, signal } = await ended(child);
    const events = await eventsOf(path);
    t.true(events['oom_kill']! > 0);
    if (oomGroup) {
      t.is(signal, 'SIGKILL');
      t.is(events['oom_group_kill'], 1);
    } else {
      t.is(code, 0);
      t.is(said, 'survived\n');
    }
  }
});

test.serial('memory.high slows down and kills nobody', async (t) => {
  const path = `${branch}/high`;
  await cgroups.ensure(path, { memoryHighBytes: 16 * MIB, memoryBytes: 256 * MIB, swapBytes: 0 });
  const child = inside(path, allocate(18));
  for (let tries = 0; tries < 400 && (await eventsOf(path))['high'] === 0; tries++) await sleep(50);
  const events = await eventsOf(path);
  t.true(events['high']! > 0);
  t.is(events['oom_kill'], 0);
  if (child.exitCode !== null) return;
  const gone = ended(child);
  child.kill('SIGKILL');
  await gone;
});

test.serial(
  'memory.low keeps what is cached for a pod from being taken by others, if kubepods has it too',
  async (t) => {
    await run('mke2fs', ['-q', '-F', '/dev/ubda'], { timeoutMs: 30_000 });
    await run('mount', ['/dev/ubda', '/var/lib/berth']);
    const readBy = (path: string, file: string) => ended(inside(path, `cat /var/lib/berth/${file} >/dev/null`));
    const keptBytes = async (kubepodsLowBytes: number) => {
      await run('sh', ['-c', 'echo 3 >/proc/sys/vm/drop_caches']);
      await cgroups.ensure(branch, { memoryBytes: 64 * MIB });
      await cgroups.ensure(`${branch}/kubepods`, { memoryLowBytes: kubepodsLowBytes });
      await cgroups.ensure(`${branch}/kubepods/pod`, { memoryLowBytes: 40 * MIB });
      await cgroups.ensure(`${branch}/other`, {});
      await readBy(`${branch}/kubepods/pod`, 'small');
      await readBy(`${branch}/other`, 'large');
      return Number(await cgroups.read(`${branch}/kubepods/pod`, 'memory', 'memory.current'));
    };
    try {
      await run('sh', [
        '-c',
        'cd /var/lib/berth && head -c 32m /dev/zero >small && head -c 120m /dev/zero >large && sync',
      ]);
      const kept = await keptBytes(40 * MIB);
      await cgroups.remove(branch);
      const taken = await keptBytes(0);
      t.true(kept > 30 * MIB, `${kept} bytes were kept`);
      t.true(taken < 20 * MIB, `${taken} bytes were kept though kubepods has no memory.low`);
    } finally {
      await run('umount', ['/var/lib/berth']);
    }
  },
);

test.serial('swap: none for NoSwap, a share for LimitedSwap', async (t) => {
  await run('mkswap', ['/dev/ubda'], { timeoutMs: 30_000 });
  await run('swapon', ['/dev/ubda']);
  try {
    const [device] = await readSwapDevices();
    t.is(device?.name, '/dev/ubda');
    t.true(device!.sizeBytes > 250 * MIB);
    const peak = async (swapBytes: number) => {
      const path = `${branch}/swap-${swapBytes}`;
      await cgroups.ensure(path, { memoryBytes: 24 * MIB, swapBytes, oomGroup: false });
      const { code } = await ended(inside(path, `${allocate(32)}; exit 0`));
      return {
        code,
        kills: (await eventsOf(path))['oom_kill']!,
        swapMax: await cgroups.read(path, 'memory', 'memory.swap.max'),
      };
    };
    const without = await peak(0);
    t.like(without, { code: 0, swapMax: '0' });
    t.true(without.kills > 0);
    t.like(await peak(128 * MIB), { code: 0, kills: 0, swapMax: String(128 * MIB) });
  } finally {
    await run('swapoff', ['/dev/ubda'], { timeoutMs: 60_000 });
  }
  t.deepEqual(await readSwapDevices(), []);
});

test.serial('a pod that has its processes forks no more', async (t) => {
  const path = `${branch}/pids`;
  await cgroups.ensure(path, { pids: 8 });
  const child = inside(path, 'i=0; while [ $i -lt 20 ]; do sleep 30 & i=$((i+1)); done; wait');
  await ended(child);
  t.is(await cgroups.read(path, 'pids', 'pids.max'), '8');
  t.true(Number(/max (\d+)/.exec((await cgroups.read(path, 'pids', 'pids.events')) ?? '')?.[1]) > 0);
  t.true((await cgroups.processes(path)).length <= 8);
});

test.serial('a CPU limit holds', async (t) => {
  const path = `${branch}/cpu`;
  await cgroups.ensure(path, { cpuQuotaUs: 20_000, cpuPeriodUs: 100_000 });
  const child = inside(path, 'while :; do :; done');
  await sleep(500);
  const usage = async () =>
    Number(/usage_usec (\d+)/.exec((await readFile(`${ROOT}${path}/cpu.stat`, 'utf8')) ?? '')?.[1]);
  const before = await usage();
  const started = performance.now();
  await sleep(2000);
  const share = ((await usage()) - before) / 1000 / (performance.now() - started);
  child.kill('SIGKILL');
  // The guest counts time in ticks of 10 ms: the figure itself is the bench's, on a real kernel.
  t.true(share > 0.1 && share < 0.3, `${share} of a CPU`);
});

test.serial('the kernel tells of a process that it ended because the machine was out of memory', async (t) => {
  const kernel = openKernelLog();
  while (kernel.read(1000).length === 1000);
  const child = spawn('/bin/sh', ['-c', 'echo 1000 >/proc/self/oom_score_adj; exec sleep 60'], { stdio: 'ignore' });
  await sleep(300);
  const gone = ended(child);
  // As if: the kernel picks a victim now.
  await run('sh', ['-c', 'echo f >/proc/sysrq-trigger']);
  t.is((await gone).signal, 'SIGKILL');
  const victims = kernel.read(1000).map(parseSystemOom).filter(Boolean);
  kernel.close();
  t.deepEqual(victims, [{ process: 'sleep', pid: child.pid }]);
});
