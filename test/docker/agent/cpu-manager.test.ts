import { readdir, readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { LABEL } from '../../../agent/containers/identity.ts';
import { openResourceManagers } from '../../../cli/roots/resource-managers.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const obstacle = whyNoDockerd() ?? (cpus().length < 2 ? 'an exclusive CPU needs a second one' : undefined);
const real = obstacle ? test.serial.skip : test.serial;
const ALL = `0-${cpus().length - 1}`;
let engine: PrivateDockerd;
let node: TestAgent;
let stopKeeper = new AbortController();

/** An agent with the static policy and CPU 0 reserved; with `base` one that goes on where another ended. */
async function startAgent(base?: string): Promise<void> {
  const config = loadConfig(kubeletConfiguration, {
    flags: [
      { flag: '--cpu-manager-policy', field: 'cpuManagerPolicy', value: 'static' },
      { flag: '--reserved-cpus', field: 'reservedSystemCPUs', value: '0' },
    ],
  });
  const root = base ?? `/tmp/berth-agent-cpu-${process.pid}`;
  const managers = await openResourceManagers(
    { config, nodeName: 'node-1', rootDir: join(root, 'root'), metrics: new Registry() },
    { clock: systemClock, log: silentLogger },
  );
  const docker = managers.follow(engine.docker);
  node = await createTestAgent({
    docker,
    network: createFakePodNetwork(),
    base: root,
    managers,
    options: { fileCheckMs: 200 },
  });
  stopKeeper = new AbortController();
  void managers.parts()['CPU manager']?.run(stopKeeper.signal);
  node.start();
}

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    await startAgent();
  });
  test.after.always(async () => {
    try {
      stopKeeper.abort();
      await node?.remove();
    } finally {
      await engine?.stop();
    }
  });
}

/** `cpu` a whole number: one of its own. */
async function apply(name: string, cpu?: string): Promise<void> {
  const amounts = cpu && { cpu, memory: '32Mi' };
  await node.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      dnsPolicy: 'Default',
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'app',
          image: BUSYBOX_IMAGE,
          imagePullPolicy: 'Never',
          command: ['sleep', '1000'],
          ...(amounts && { resources: { requests: amounts, limits: amounts } }),
        },
      ],
    },
  } as Parameters<TestAgent['apply']>[0]);
}

const containerOf = (name: string) => node.runtime(name)?.containers.find(({ state }) => state === 'running');
const runs = (name: string) => eventually(`${name} runs`, () => containerOf(name));
const gone = (name: string) => eventually(`${name} is gone`, () => !node.pod(name));

/** The cpuset of every container of the node as the kernel has it: id → list. */
async function readCpusets(): Promise<Map<string, string>> {
  const cgroups = await openCgroups();
  const root = join(cgroups.hierarchies.controllers.get('cpuset')!, node.cgroupRoot);
  const found = new Map<string, string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])) {
    const id = /([0-9a-f]{64})/.exec(entry.name)?.[1];
    if (!entry.isDirectory() || !id) continue;
    // It may end meanwhile.
    const list = await readFile(join(entry.parentPath, entry.name, 'cpuset.cpus'), 'utf8').catch(() => undefined);
    if (list !== undefined) found.set(id, list.trim());
  }
  return found;
}
async function cpusetOf(name: string): Promise<string | undefined> {
  return (await readCpusets()).get(containerOf(name)?.id ?? '');
}

/** CPU quota of the container and of its pod: `-1` or `max` where there is none. */
async function quotasOf(name: string): Promise<(string | undefined)[]> {
  const cgroups = await openCgroups();
  const id = containerOf(name)!.id;
  const file = cgroups.version === 1 ? 'cpu.cfs_quota_us' : 'cpu.max';
  const root = join(cgroups.hierarchies.controllers.get('cpu')!, node.cgroupRoot);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const own = entries.find((entry) => entry.name.includes(id) && entry.isDirectory())!;
  const read = async (path: string) => (await readFile(join(path, file), 'utf8')).trim().split(' ')[0];
  return [await read(join(own.parentPath, own.name)), await read(own.parentPath)];
}

real('a container with a CPU of its own: the others are moved off it, and back', async (t) => {
  await apply('shared');
  await runs('shared');
  t.is(await cpusetOf('shared'), ALL);
  await apply('own', '1');
  await runs('own');
  t.is(await cpusetOf('own'), '1');
  t.is(await cpusetOf('shared'), cpus().length === 2 ? '0' : `0,2${cpus().length > 3 ? `-${cpus().length - 1}` : ''}`);
  for (const quota of await quotasOf('own')) t.true(quota === '-1' || quota === 'max', quota);
  await apply('fraction', '500m');
  await runs('fraction');
  t.is(await cpusetOf('fraction'), await cpusetOf('shared'));
  t.is((await quotasOf('fraction'))[0], '50000');
  await node.unapply('own');
  await gone('own');
  await eventually('the CPU is shared again', async () => (await cpusetOf('shared')) === ALL);
  t.is(await cpusetOf('fraction'), ALL);
  await node.unapply('fraction');
});

real('more CPUs than are left: the pod is rejected', async (t) => {
  await apply('greedy', String(cpus().length));
  const pod = await eventually('greedy is rejected', () => {
    const found = node.pod('greedy');
    return found?.status?.phase === 'Failed' ? found : undefined;
  });
  t.is(pod.status?.reason, 'UnexpectedAdmissionError');
  t.regex(pod.status?.message ?? '', /Pod was rejected: Allocate failed due to not enough cpus available/);
  t.is(await cpusetOf('shared'), ALL);
  await node.unapply('greedy');
});

real('a restart of the agent leaves everybody where he is; so does one of the Engine', async (t) => {
  await apply('own', '1');
  await runs('own');
  const before = [containerOf('own')!.id, containerOf('shared')!.id];
  const state = await readFile(join(node.rootDir, 'cpu_manager_state'), 'utf8');
  t.is(JSON.parse(state).policyName, 'static');
  stopKeeper.abort();
  await node.stop();
  const { rootDir } = node;
  await startAgent(join(rootDir, '..'));
  await runs('own');
  await runs('shared');
  t.deepEqual([containerOf('own')!.id, containerOf('shared')!.id], before);
  t.is(await readFile(join(rootDir, 'cpu_manager_state'), 'utf8'), state);
  await engine.restart();
  await eventually(
    'the cpusets stand',
    async () => (await cpusetOf('own')) === '1' && (await cpusetOf('shared')) !== ALL,
  );
  await node.unapply('own');
  await gone('own');
  await eventually('the CPU is shared again', async () => (await cpusetOf('shared')) === ALL);
});

real('pods come and go at random: an exclusive CPU is nobody else’s, by the kernel’s own files', async (t) => {
  let seed = 5;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  /** Container id → pod; sandboxes are no one's. */
  const owners = new Map<string, string | undefined>();
  let looks = 0;
  let together = 0;
  let isOver = false;
  const watch = (async () => {
    while (!isOver) {
      const cpusets = await readCpusets();
      if ([...cpusets.keys()].some((id) => !owners.has(id)))
        for (const { id, labels } of await engine.docker.listContainers({}))
          owners.set(id, labels[LABEL.dockerType] === 'container' ? labels[LABEL.podName] : undefined);
      const apps = [...cpusets].flatMap(([id, list]) => {
        const pod = owners.get(id);
        return pod && list ? [{ pod, list }] : [];
      });
      looks++;
      for (const { pod, list } of apps) {
        if (!pod.startsWith('own-')) continue;
        t.is(list, '1', `${pod} has a CPU of its own`);
        for (const other of apps) {
          if (other.pod === pod) continue;
          together++;
          if (other.pod.startsWith('own-') || !/^0(,|$)/.test(other.list))
            t.fail(`${other.pod} runs on ${other.list}, beside ${pod}`);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  const here = new Set<string>();
  for (let round = 0; round < 8; round++) {
    const name = `${random(2) === 0 ? 'own' : 'any'}-${round}`;
    await apply(name, name.startsWith('own-') ? '1' : ['', '500m'][random(2)]);
    here.add(name);
    if (random(3) > 0)
      await eventually(`${name} is decided`, () => containerOf(name) ?? node.pod(name)?.status?.phase === 'Failed');
    for (const other of here)
      if (random(3) === 0) {
        await node.unapply(other);
        here.delete(other);
      }
  }
  for (const name of here) await node.unapply(name);
  const others = async () =>
    (await engine.docker.listContainers({})).filter(({ labels }) => /^(own|any)-/.test(labels[LABEL.podName] ?? ''));
  await eventually('all of them are gone', async () => (await others()).length === 0);
  isOver = true;
  await watch;
  t.log(`looked ${looks} times, ${together} times at others beside an exclusive one`);
  t.true(looks > 20 && together > 5);
});
