/** Ended containers and sandboxes over the fake Engine. */
import test from 'ava';
import { DockerError } from '../../../../src/docker/errors.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { deleted, pod } from '../pods/story-pods.ts';

const signal = new AbortController().signal;

type FakeAgent = Awaited<ReturnType<typeof createFakeAgent>>;

const containerIds = (agent: FakeAgent, one: Pod) => agent.runtime.pod(one.metadata.uid).containers.map(({ id }) => id);

/** A pod that has run to its end. */
async function finishedPod(agent: FakeAgent): Promise<Pod> {
  const one = pod({ restartPolicy: 'Never' });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.docker.exit(agent.container(one, 'app')!.id, 0);
  await until('over', () => agent.workers.get(one.metadata.uid)?.state === 'finished');
  return one;
}

test('the container of a finished pod stays for its log, and goes when room is needed', async (t) => {
  const agent = await createFakeAgent(t);
  const one = await finishedPod(agent);
  await agent.gc.collectContainers(signal);
  t.is(containerIds(agent, one).length, 1);
  await agent.gc.reclaim.deleteDeadContainers(signal);
  t.deepEqual(containerIds(agent, one), []);
  t.is(agent.docker.containers.size, 0);
  t.is(agent.phase(one), 'Succeeded');
  agent.workers.poke(one.metadata.uid);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(agent.docker.containers.size, 0, 'nothing starts again');
});

test('R18: a dead sandbox that could not be removed goes with a later round, not before a new one took its place', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const [old] = agent.runtime.pod('uid-1').sandboxes;
  agent.docker.failNext(`remove ${old!.id}`, new DockerError('remove', 'server', 'device or resource busy', 500));
  agent.docker.exit(old!.id, 0);
  await until('a new sandbox', () => agent.runtime.pod('uid-1').sandboxes[0]?.attempt === 1);
  await until('running again', () => agent.container(one, 'app')?.restartCount === 1);
  t.is(agent.runtime.pod('uid-1').sandboxes.length, 2);
  // The first container was in it, and is what the status tells of the last run.
  const [, last] = agent.runtime.pod('uid-1').containers;
  if (last) await agent.docker.removeContainer(last.id);
  await until('its container is gone', () => containerIds(agent, one).length === 1);
  await agent.gc.collectContainers(signal);
  t.deepEqual(
    agent.runtime.pod('uid-1').sandboxes.map(({ attempt }) => attempt),
    [1],
  );
  t.false(agent.docker.containers.has(old!.id));
});

test('what cannot be removed now is removed by the next round', async (t) => {
  const agent = await createFakeAgent(t);
  const one = await finishedPod(agent);
  const [id] = containerIds(agent, one);
  agent.docker.failNext(`remove ${id}`, new DockerError('remove', 'unreachable', 'connection refused'));
  await agent.gc.reclaim.deleteDeadContainers(signal);
  t.deepEqual(containerIds(agent, one), [id!]);
  await agent.gc.reclaim.deleteDeadContainers(signal);
  t.deepEqual(containerIds(agent, one), []);
});

test('R7: of a deleted pod nothing is left: containers, directories, links', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update(deleted(one, 30));
  agent.workers.remove(one.metadata.uid);
  await until('gone', () => !agent.workers.get(one.metadata.uid));
  await agent.gc.collectContainers(signal);
  t.is(agent.docker.containers.size, 0);
  t.deepEqual(await agent.directories.list(), []);
});
