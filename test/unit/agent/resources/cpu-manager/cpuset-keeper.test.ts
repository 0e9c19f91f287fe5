import test from 'ava';
import { LABEL } from '../../../../../agent/containers/identity.ts';
import { createCpusetKeeper } from '../../../../../agent/resources/cpu-manager/cpuset-keeper.ts';
import type { ContainerConfig, DockerEngine } from '../../../../../src/docker/engine.ts';
import { DockerError } from '../../../../../src/docker/errors.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../../fakes/clock.ts';
import { createFakeDocker, type FakeDocker } from '../../../../fakes/docker.ts';

function keeperOf(cpus: Map<string, string>, docker: FakeDocker = createFakeDocker(), engine: DockerEngine = docker) {
  docker.addImage('app:1');
  const clock = createFakeClock();
  const keeper = createCpusetKeeper(
    { nodeName: 'n', periodMs: 10_000 },
    { docker: engine, wanted: (uid) => cpus.get(uid) ?? '0-3', clock, log: silentLogger },
  );
  return { keeper, docker, clock };
}
const configOf = (uid: string, cpuset: string, type = 'container'): ContainerConfig => ({
  Image: 'app:1',
  Labels: {
    [LABEL.podUid]: uid,
    [LABEL.containerName]: 'app',
    [LABEL.dockerType]: type,
    [LABEL.node]: 'n',
  },
  HostConfig: { CpusetCpus: cpuset },
});
const cpusetOf = (docker: FakeDocker, id: string) => docker.containers.get(id)?.config.HostConfig?.CpusetCpus;
const updates = (docker: FakeDocker) => docker.calls.filter((call) => call.startsWith('update')).length;

test('what runs is moved, once', async (t) => {
  const cpus = new Map([['a', '0-3']]);
  const { keeper, docker } = keeperOf(cpus);
  const { id } = await keeper.docker.createContainer('a', configOf('a', '0-3'));
  await keeper.docker.startContainer(id);
  await keeper.sync();
  t.is(updates(docker), 0, 'it was made so');
  cpus.set('a', '0-1');
  await Promise.all([keeper.sync(), keeper.sync(), keeper.sync()]);
  t.is(cpusetOf(docker, id), '0-1');
  t.is(updates(docker), 1);
});

test('what was being made meanwhile is moved before it starts', async (t) => {
  const cpus = new Map([['a', '0-3']]);
  const { keeper, docker } = keeperOf(cpus);
  const { id } = await docker.createContainer('a', configOf('a', '0-3'));
  await docker.removeContainer(id);
  const made = await keeper.docker.createContainer('a', configOf('a', '0-3'));
  cpus.set('a', '0');
  await keeper.docker.startContainer(made.id);
  t.is(cpusetOf(docker, made.id), '0');
  t.deepEqual(
    docker.calls.filter((call) => /^(update|start)/.test(call)).map((call) => call.split(' ')[0]),
    ['update', 'start'],
  );
});

test('one that is made but not started is moved too, ended ones and sandboxes are not', async (t) => {
  const cpus = new Map<string, string>();
  const { keeper, docker } = keeperOf(cpus);
  const made = await docker.createContainer('made', configOf('made', '0-3'));
  const ended = await docker.createContainer('ended', configOf('ended', '0-3'));
  await docker.startContainer(ended.id);
  docker.exit(ended.id, 0);
  const pause = await docker.createContainer('pause', configOf('pause', '', 'podsandbox'));
  for (const uid of ['made', 'ended', 'pause']) cpus.set(uid, '1');
  await keeper.sync();
  t.is(cpusetOf(docker, made.id), '1');
  t.is(cpusetOf(docker, ended.id), '0-3');
  t.is(cpusetOf(docker, pause.id), '');
});

test('what changes while the Engine is at work is seen to at once', async (t) => {
  const cpus = new Map([['a', '0']]);
  const docker = createFakeDocker();
  const { keeper } = keeperOf(cpus, docker, {
    ...docker,
    async updateContainer(id, resources) {
      cpus.set('a', '1');
      await docker.updateContainer(id, resources);
    },
  });
  const { id } = await docker.createContainer('a', configOf('a', '0-3'));
  await keeper.sync();
  t.is(cpusetOf(docker, id), '1');
});

test('what the Engine refuses is tried again in the next period', async (t) => {
  const cpus = new Map([['a', '0']]);
  const { keeper, docker, clock } = keeperOf(cpus);
  const { id } = await docker.createContainer('a', configOf('a', '0-3'));
  docker.failNext('update', new DockerError('update', 'server', 'device or resource busy', 500));
  docker.failNext('list', new DockerError('list', 'unreachable', 'gone'));
  const stop = new AbortController();
  const run = keeper.run(stop.signal);
  await clock.advance(10_000);
  t.is(cpusetOf(docker, id), '0-3');
  await clock.advance(10_000);
  t.is(cpusetOf(docker, id), '0');
  stop.abort();
  await run;
});

test('R4: a container that hangs keeps nobody else, and is tried again', async (t) => {
  const cpus = new Map<string, string>();
  const docker = createFakeDocker();
  let hanging = '';
  const { keeper, clock } = keeperOf(cpus, docker, {
    ...docker,
    async updateContainer(id, resources, signal) {
      if (id === hanging)
        await new Promise((_, reject) =>
          signal?.addEventListener('abort', () => reject(signal.reason), { once: true }),
        );
      await docker.updateContainer(id, resources);
    },
  });
  const [bad, good] = [
    await docker.createContainer('bad', configOf('bad', '')),
    await docker.createContainer('good', configOf('good', '')),
  ];
  hanging = bad.id;
  const synced = keeper.sync();
  await clock.advance(10_000);
  await synced;
  t.is(cpusetOf(docker, good.id), '0-3');
  t.is(cpusetOf(docker, bad.id), '');
  hanging = '';
  await keeper.sync();
  t.is(cpusetOf(docker, bad.id), '0-3');
});
