import test from 'ava';
import { createStartSlots } from '../../../../agent/containers/start-slots.ts';
import { createPodRuntime } from '../../../../agent/sandbox/pod-runtime.ts';
import { createSandboxes } from '../../../../agent/sandbox/sandbox.ts';
import type { ContainerConfig } from '../../../../src/docker/engine.ts';
import { DockerError } from '../../../../src/docker/errors.ts';
import type { HeldNetns } from '../../../../src/linux/netns.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { type Logger, silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeDocker } from '../../../fakes/docker.ts';
import { createFakePodNetwork } from '../../../fakes/pod-network.ts';
import { noMetrics } from '../../../support/agent.ts';
import { podOf } from '../pod.ts';

const signal = new AbortController().signal;

function scene() {
  const docker = createFakeDocker();
  docker.addImage('pause:1');
  docker.addImage('busybox:1');
  const made: ContainerConfig[] = [];
  const warnings: string[] = [];
  const netns: (HeldNetns & { isOpen: boolean })[] = [];
  const recording = {
    ...docker,
    createContainer(...args: Parameters<typeof docker.createContainer>) {
      made.push(args[1]);
      return docker.createContainer(...args);
    },
  };
  const podRuntime = createPodRuntime('berth', {
    docker: recording,
    log: { ...silentLogger, warn: (_: unknown, text: string) => void warnings.push(text) } as unknown as Logger,
    makeNetns() {
      const one = {
        path: `/proc/1/fd/${netns.length + 1}`,
        id: `net-${netns.length + 1}`,
        isOpen: true,
        close() {
          one.isOpen = false;
        },
      };
      netns.push(one);
      return one;
    },
  });
  const network = createFakePodNetwork();
  const sandboxes = createSandboxes(
    { nodeName: 'node-1', pauseImage: 'pause:1' },
    {
      docker: podRuntime.docker,
      network,
      resources: { cgroupParent: () => '/kubepods', oomScoreAdj: () => 0 },
      metrics: noMetrics,
      slots: createStartSlots(4, systemClock),
      podRuntime,
      pullImage: async () => {},
      log: silentLogger,
    },
  );
  return { docker, made, warnings, netns, podRuntime, network, sandboxes };
}

const runtimesOf = (made: ContainerConfig[]) => made.map(({ HostConfig }) => HostConfig?.Runtime);

test('which containers get the runtime: those with a network of their own, and who joins them', async (t) => {
  const { made, podRuntime } = scene();
  const create = (name: string, HostConfig: ContainerConfig['HostConfig']) =>
    podRuntime.docker.createContainer(name, { Image: 'busybox:1', HostConfig });
  await create('pause', { NetworkMode: 'none' });
  await create('app', { NetworkMode: 'container:pause' });
  await create('host-pause', { NetworkMode: 'host' });
  await create('host-app', { NetworkMode: 'container:host-pause', UTSMode: 'host' });
  t.deepEqual(runtimesOf(made), ['berth', 'berth', undefined, undefined]);
});

test('an Engine that refuses the runtime makes the container without; a refusal of something else stays one', async (t) => {
  const { docker, made, warnings, podRuntime } = scene();
  const bad = new DockerError('create', 'badRequest', 'invalid sysctl', 400);
  docker.failNext('create', bad);
  docker.failNext('create', bad);
  const config = { Image: 'busybox:1', HostConfig: { NetworkMode: 'none' } };
  await t.throwsAsync(podRuntime.docker.createContainer('one', config), { message: /invalid sysctl/ });
  t.truthy(podRuntime.prepareNetns(), 'the runtime is still there');
  docker.failNext('create', new DockerError('create', 'badRequest', 'Unknown runtime specified berth', 400));
  await podRuntime.docker.createContainer('two', config);
  await podRuntime.docker.createContainer('three', config);
  t.deepEqual(runtimesOf(made), ['berth', undefined, 'berth', undefined, undefined]);
  t.is(warnings.length, 1);
  t.is(podRuntime.prepareNetns(), undefined);
});

test('a pause elsewhere than in the prepared namespace: connected again, where it is; none is prepared after that', async (t) => {
  const { made, netns, network, sandboxes } = scene();
  const pod = podOf();
  const id = await sandboxes.create(pod, 0, 'web', signal);
  t.deepEqual(made[0]!.Env, ['BERTH_NETNS=/proc/1/fd/1']);
  const ips = await sandboxes.start(pod, id, signal);
  t.is(network.attachments.size, 1);
  t.deepEqual(network.attachments.get(id)?.ips, ips);
  t.regex(network.attachments.get(id)!.netnsPath, /^\/proc\/\d+\/ns\/net$/);
  t.false(netns[0]!.isOpen);
  await sandboxes.create(podOf({}, { uid: 'uid-2', name: 'other' }), 0, 'other', signal);
  t.is(netns.length, 1);
  t.is(made[1]!.Env, undefined);
});

test('three starts in a row that fail with prepared namespaces: tried without; nothing stays open', async (t) => {
  const { docker, made, netns, sandboxes, warnings } = scene();
  for (let attempt = 0; attempt < 4; attempt++) {
    const pod = podOf();
    const id = await sandboxes.create(pod, attempt, 'web', signal);
    docker.failNext('start', new DockerError('start', 'server', 'mount sysfs: operation not permitted', 500));
    await t.throwsAsync(sandboxes.start(pod, id, signal), { message: /sysfs/ });
    await sandboxes.remove(pod, { id, hostNetwork: false });
  }
  t.deepEqual(
    made.map(({ Env }) => Env !== undefined),
    [true, true, true, false],
  );
  t.is(warnings.length, 1);
  t.true(netns.every(({ isOpen }) => !isOpen));
});

test('a pod that goes before its pause was started, and a create that fails, leave nothing open', async (t) => {
  const { docker, netns, sandboxes } = scene();
  const id = await sandboxes.create(podOf(), 0, 'web', signal);
  await sandboxes.remove(podOf(), { id, hostNetwork: false });
  docker.failNext('create', new DockerError('create', 'server', 'disk full', 500));
  await t.throwsAsync(sandboxes.create(podOf(), 1, 'web', signal));
  t.is(netns.length, 2);
  t.true(netns.every(({ isOpen }) => !isOpen));
});
