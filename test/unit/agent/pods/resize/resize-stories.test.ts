import test, { type ExecutionContext } from 'ava';
import type { AgentDependencies } from '../../../../../agent/agent.ts';
import type { ResizingNode } from '../../../../../agent/pods/resize/decision.ts';
import { createAllocations } from '../../../../../agent/resources/allocation/allocations.ts';
import { allocationOf } from '../../../../../agent/resources/allocation/pod-allocation.ts';
import { computeContainerResources } from '../../../../../agent/resources/container-resources.ts';
import { podLimits, podRequests } from '../../../../../agent/resources/requests.ts';
import type { Pod, PodCondition } from '../../../../../src/kube/types.ts';
import { createFakeAgent, until } from '../../fake-agent.ts';
import { resources } from '../../pod.ts';
import { pod } from '../story-pods.ts';

const GI = 2 ** 30;
const NODE: ResizingNode = {
  cpuMillis: 4000,
  memoryBytes: 4 * GI,
  cpuManagerIsStatic: false,
  memoryManagerIsStatic: false,
  maySwap: () => false,
};

let generation = 1;
const sized = (cpu: string, memory: string, uid = 'uid-1', more: Partial<Pod['spec']['containers'][0]> = {}): Pod =>
  pod(
    { containers: [{ name: 'app', image: 'busybox:1', resources: resources(cpu, memory), ...more }] },
    { uid, name: uid, generation: ++generation },
  );

async function startAgent(t: ExecutionContext, override: Partial<AgentDependencies> = {}) {
  /** Limits of the pod's cgroup and of containers, in the order in which they were set. */
  const done: string[] = [];
  const inUse = { bytes: 0 };
  /** As the kernel on cgroup v1: no pod below its containers. */
  let leastMillis = () => 0;
  const settings = { cpuCfsQuota: true, cpuCfsQuotaPeriodUs: 100_000, podPidsLimit: -1 };
  const agent = await createFakeAgent(t, {
    resizingNode: () => NODE,
    resources: {
      async ensurePod(one) {
        const { cpu, memory } = podLimits(one);
        if ((cpu ?? 0) < leastMillis()) throw new Error('cannot write cpu.cfs_quota_us: EINVAL');
        const text = `pod ${cpu}m ${(memory ?? 0) / GI}Gi`;
        if (done.findLast((what) => what.startsWith('pod')) !== text) done.push(text);
      },
      podExists: async () => true,
      async removePod() {},
      async retain() {},
      cgroupParent: () => '/kubepods',
      containerProcesses: async () => [],
      oomScoreAdj: () => 0,
      containerResources: (one, name) => computeContainerResources(one, name, settings),
      async limitContainer() {},
      groupKills: async () => undefined,
      memoryInUseBytes: async () => inUse.bytes,
      nodeAllocatable: () => ({ cpuMillis: 4000, memoryBytes: 4 * GI, ephemeralStorageBytes: 2 ** 36 }),
    },
    ...override,
  });
  const update = agent.docker.updateContainer.bind(agent.docker);
  agent.docker.updateContainer = async (id, given, signal) => {
    done.push(`container ${given.CpuQuota! / 100}m ${given.Memory! / GI}Gi`);
    return update(id, given, signal);
  };
  const status = (uid = 'uid-1') => agent.statuses.get(uid);
  const condition = (type: string, uid?: string): PodCondition | undefined =>
    status(uid)?.conditions?.find((one) => one.type === type);
  const actual = (uid?: string) => status(uid)?.containerStatuses?.[0]?.resources;
  const running = (one: Pod) => until(`${one.metadata.uid} runs`, () => agent.phase(one) === 'Running');
  const told = (reason: string) =>
    agent.events.filter((event) => event.reason === reason).map(({ message }) => message);
  const refuseBelow = (least: () => number) => {
    leastMillis = least;
  };
  return { ...agent, done, inUse, refuseBelow, status, condition, actual, running, told };
}

test('cpu and memory grow without a restart: the pod first, then the container; told in status and events', async (t) => {
  const agent = await startAgent(t);
  const small = sized('500m/1', '1Gi/1Gi');
  agent.workers.update(small);
  await agent.running(small);
  const id = agent.container(small, 'app')!.id;
  const large = sized('1/2', '2Gi/2Gi');
  agent.workers.update(large);
  await until('resized', () => agent.told('ResizeCompleted').length > 0);
  t.deepEqual(agent.done, ['pod 1000m 1Gi', 'pod 2000m 2Gi', 'container 2000m 2Gi']);
  await until('shown', () => agent.actual()?.limits?.['cpu'] === '2');
  const [shown] = agent.status()!.containerStatuses!;
  t.deepEqual(shown!.resources, resources('1/2', '2Gi/2Gi'));
  t.deepEqual(shown!.allocatedResources, { cpu: '1', memory: '2Gi' });
  t.is(shown!.restartCount, 0);
  t.is(agent.container(large, 'app')!.id, id);
  await until('over', () => !agent.condition('PodResizeInProgress'));
  t.is(agent.condition('PodResizePending'), undefined);
  t.is(agent.status()!.observedGeneration, large.metadata.generation);
  const asked = JSON.stringify({
    containers: [{ name: 'app', resources: resources('1/2', '2Gi/2Gi') }],
    generation: large.metadata.generation,
  });
  t.deepEqual(agent.told('ResizeStarted'), [`Pod resize started: ${asked}`]);
  t.deepEqual(agent.told('ResizeCompleted'), [`Pod resize completed: ${asked}`]);
});

test('what shrinks: the container first, then the pod', async (t) => {
  const agent = await startAgent(t);
  const large = sized('1/2', '2Gi/2Gi');
  agent.workers.update(large);
  await agent.running(large);
  agent.workers.update(sized('1/1', '1Gi/1Gi'));
  await until('resized', () => agent.told('ResizeCompleted').length > 0);
  t.deepEqual(agent.done, ['pod 2000m 2Gi', 'container 1000m 1Gi', 'pod 1000m 1Gi']);
});

test('a memory limit below what is in use is not set: an error that is told once, and tried again', async (t) => {
  const agent = await startAgent(t);
  const large = sized('1/2', '2Gi/2Gi');
  agent.workers.update(large);
  await agent.running(large);
  agent.inUse.bytes = 1.5 * GI;
  agent.workers.update(sized('1/2', '1Gi/1Gi'));
  await until('refused', () => agent.condition('PodResizeInProgress')?.reason === 'Error');
  t.regex(
    agent.condition('PodResizeInProgress')!.message!,
    /^cannot decrease memory limits: attempting to set pod memory limit \(1073741824\) below current usage \(1610612736\), attempting to set container "app" memory limit/,
  );
  t.deepEqual(agent.done, ['pod 2000m 2Gi']);
  t.is(agent.actual()!.limits!['memory'], '2Gi');
  t.is(agent.status()!.containerStatuses![0]!.allocatedResources!['memory'], '1Gi');
  agent.workers.poke('uid-1');
  agent.inUse.bytes = 0;
  agent.workers.poke('uid-1');
  await until('resized', () => agent.told('ResizeCompleted').length > 0);
  t.is(agent.told('ResizeError').length, 1);
});

test('a resizePolicy that wants a restart gets one, with the new resources', async (t) => {
  const agent = await startAgent(t);
  const policy = { resizePolicy: [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }] };
  const small = sized('1/1', '1Gi/1Gi', 'uid-1', policy);
  agent.workers.update(small);
  await agent.running(small);
  agent.workers.update(sized('1/1', '2Gi/2Gi', 'uid-1', policy));
  await until('restarted', () => agent.container(small, 'app')?.restartCount === 1);
  await until('resized', () => agent.told('ResizeCompleted').length > 0);
  const { id } = agent.container(small, 'app')!;
  t.is(agent.docker.containers.get(id)!.config.HostConfig!.Memory, 2 * GI);
  t.true(agent.events.some(({ message }) => message === 'Container app resize requires restart'));
  t.deepEqual(agent.done, ['pod 1000m 1Gi', 'pod 1000m 2Gi']);
});

test('what does not fit is deferred, and allocated when another pod ends; what can never fit is infeasible', async (t) => {
  const agent = await startAgent(t);
  const [one, other] = [sized('1/4', '1Gi/1Gi'), sized('2/4', '1Gi/1Gi', 'uid-2')];
  agent.workers.update(one);
  agent.workers.update(other);
  await agent.running(one);
  await agent.running(other);
  agent.workers.update(sized('3/4', '1Gi/1Gi'));
  await until('deferred', () => agent.condition('PodResizePending')?.reason === 'Deferred');
  t.is(
    agent.condition('PodResizePending')!.message,
    "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000",
  );
  t.is(agent.actual()!.requests!['cpu'], '1');
  t.is(agent.told('ResizeDeferred').length, 1);
  // Others see what it has, not what it wants.
  t.is(podRequests(agent.allocations.allocatedPod(sized('9', '1Gi')))['cpu'], 1000);
  agent.workers.remove('uid-2');
  await until('allocated', () => agent.actual()?.requests?.['cpu'] === '3');
  await until('told', () => !agent.condition('PodResizePending'));
  agent.workers.update(sized('9/9', '1Gi/1Gi'));
  await until('infeasible', () => agent.condition('PodResizePending')?.reason === 'Infeasible');
  t.is(agent.told('ResizeInfeasible').length, 1);
  agent.workers.update(sized('3/4', '1Gi/1Gi'));
  await until('taken back', () => !agent.condition('PodResizePending'));
  t.is(agent.actual()!.requests!['cpu'], '3');
});

test('pod-level resources grow while the pod runs, its containers stay as they are', async (t) => {
  const agent = await startAgent(t);
  const level = (cpu: string): Pod => {
    const { spec, ...rest } = sized('', '');
    return { ...rest, spec: { ...spec, resources: { requests: { cpu }, limits: { cpu, memory: '1Gi' } } } };
  };
  const small = level('1');
  agent.workers.update(small);
  await agent.running(small);
  agent.workers.update(level('2'));
  await until('resized', () => agent.told('ResizeCompleted').length > 0);
  t.deepEqual(agent.done, ['pod 1000m 1Gi', 'pod 2000m 1Gi']);
  await until('shown', () => agent.status()!.resources?.limits?.['cpu'] === '2');
  t.is(agent.status()!.allocatedResources!['cpu'], '2');
  t.is(agent.container(small, 'app')!.restartCount, 0);
});

test('a restart of the agent in the middle: what was allocated is carried out, what was not stays asked for', async (t) => {
  const first = await startAgent(t);
  const small = sized('1/1', '1Gi/1Gi');
  first.workers.update(small);
  await first.running(small);
  // The agent died between the allocation and its execution.
  const allocations = createAllocations({
    allocated: new Map([['uid-1', allocationOf(sized('2/2', '1Gi/1Gi'))]]),
    actuated: new Map([['uid-1', allocationOf(small)]]),
  });
  const { docker, network } = first;
  const second = await startAgent(t, { docker, network, allocations });
  await second.runtime.relist(new AbortController().signal);
  second.workers.update(sized('9/9', '1Gi/1Gi'));
  await until('carried out', () => second.actual()?.limits?.['cpu'] === '2');
  await until('told', () => second.condition('PodResizePending')?.reason === 'Infeasible');
  t.is(second.container(small, 'app')!.restartCount, 0);
});

test('what an agent without such records had started is resized too', async (t) => {
  const first = await startAgent(t);
  const small = sized('1/1', '1Gi/1Gi');
  first.workers.update(small);
  await first.running(small);
  const { docker, network } = first;
  const second = await startAgent(t, { docker, network });
  await second.runtime.relist(new AbortController().signal);
  second.workers.update(small);
  await second.running(small);
  second.workers.update(sized('2/2', '1Gi/1Gi'));
  await until('resized', () => second.told('ResizeCompleted').length > 0);
  t.is(docker.containers.get(second.container(small, 'app')!.id)!.config.HostConfig!.CpuQuota, 200_000);
});

test('a pod that ends in the middle of a resize has not completed it', async (t) => {
  const agent = await startAgent(t);
  const large = sized('1/2', '2Gi/2Gi');
  agent.workers.update(large);
  await agent.running(large);
  agent.inUse.bytes = 1.5 * GI;
  agent.workers.update(sized('1/2', '1Gi/1Gi'));
  await until('refused', () => agent.condition('PodResizeInProgress')?.reason === 'Error');
  const work = agent.workers.get('uid-1')!;
  const nothingRuns = { ...agent.runtime.pod('uid-1'), containers: [] };
  agent.resizes.observe({ ...work, state: 'terminating' }, agent.allocations.allocatedPod(work.pod), nothingRuns);
  t.deepEqual(agent.told('ResizeCompleted'), []);
});

test('an agent that was killed before it wrote down what a container has: the container is brought back below its pod', async (t) => {
  const first = await startAgent(t);
  const small = sized('1/1', '1Gi/1Gi');
  first.workers.update(small);
  await first.running(small);
  const { docker, network } = first;
  // The container has three CPUs by now, and nobody knows.
  const { id } = first.container(small, 'app')!;
  await docker.updateContainer(id, { CpuQuota: 300_000 });
  const asked = sized('2/2', '1Gi/1Gi');
  const held = (one: Pod) => ({ 'uid-1': allocationOf(one) });
  const second = await startAgent(t, {
    docker,
    network,
    allocations: createAllocations({
      allocated: new Map(Object.entries(held(asked))),
      actuated: new Map(Object.entries(held(small))),
    }),
  });
  second.refuseBelow(() => docker.containers.get(id)!.config.HostConfig!.CpuQuota! / 100);
  await second.runtime.relist(new AbortController().signal);
  second.workers.update(asked);
  await until('resized', () => docker.containers.get(id)!.config.HostConfig!.CpuQuota === 200_000);
  await second.running(asked);
  t.is(second.done.at(-1), 'pod 2000m 1Gi');
  t.is(second.container(asked, 'app')!.restartCount, 0);
});
