/** Named failures of the field: rejected for ever (R20), made twice (R21), piled up (R18). */
import test from 'ava';
import { DockerError } from '../../../../src/docker/errors.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { deleted, pod } from './story-pods.ts';

test('R20: the first pod of a controller is rejected at once, the next ones wait, and run when there is room', async (t) => {
  let isFull = true;
  const agent = await createFakeAgent(t, {
    admission: {
      allocation: {
        name: 'allocation',
        admit: () => (isFull ? { reason: 'OutOfcpu', message: 'Node didn’t have enough resource: cpu' } : undefined),
      },
    },
  });
  const ownerReferences = [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'rs', uid: 'rs-1', controller: true }];
  const named = (uid: string, owned = true) => pod({}, { uid, name: uid, ...(owned && { ownerReferences }) });
  agent.workers.update(named('uid-1'));
  await until('rejected', () => agent.finished.includes('uid-1'));
  const second = named('uid-2');
  agent.workers.update(second);
  agent.workers.update(named('uid-3', false));
  await until('the pod of nobody is rejected', () => agent.finished.includes('uid-3'));
  await until('the second one waits', () => agent.phase(second) === 'Pending');
  t.false(agent.finished.includes('uid-2'));
  t.is(agent.statuses.get('uid-2')!.containerStatuses![0]!.state!.waiting!.reason, 'OutOfcpu');
  const told = agent.events.filter(({ message }) => message.includes('this one waits'));
  t.is(told.length, 1);
  agent.workers.poke('uid-2');
  isFull = false;
  agent.workers.poke('uid-2');
  await until('runs', () => agent.phase(second) === 'Running');
});

test('R21: a container whose creation was never answered is not made twice', async (t) => {
  const agent = await createFakeAgent(t);
  const create = agent.docker.createContainer.bind(agent.docker);
  let answersLost = 1;
  agent.docker.createContainer = async (name, config, signal) => {
    const made = await create(name, config, signal);
    if (name.startsWith('k8s_app_') && answersLost-- > 0)
      throw new DockerError('create container', 'unreachable', 'connection reset');
    return made;
  };
  const one = pod();
  agent.workers.update(one);
  await until(
    'told',
    () => agent.statuses.get('uid-1')?.containerStatuses?.[0]?.state?.waiting?.reason === 'CreateContainerError',
  );
  agent.workers.poke('uid-1');
  await until('running', () => agent.phase(one) === 'Running');
  const apps = [...agent.docker.containers.values()].filter(({ detail }) => detail.name.startsWith('k8s_app_'));
  t.deepEqual(
    apps.map(({ detail }) => detail.name),
    ['k8s_app_web_default_uid-1_0'],
  );
});

test('R21: a container that runs and that nobody knows of is taken over, not made again', async (t) => {
  const first = await createFakeAgent(t);
  const one = pod();
  first.workers.update(one);
  await until('running', () => first.phase(one) === 'Running');
  const { id } = first.container(one, 'app')!;
  // An agent that knows the sandbox and what was published, but has not heard of the container.
  const second = await createFakeAgent(t, { docker: first.docker, network: first.network });
  await second.runtime.refresh(first.runtime.pod('uid-1').sandboxes[0]!.id);
  second.workers.update({ ...one, status: first.statuses.get('uid-1')! });
  await until('taken over', () => second.container(one, 'app')?.id === id);
  await until('running', () => second.phase(one) === 'Running');
  t.deepEqual([...first.docker.containers.values()].map(({ detail }) => detail.name.split('_')[1]).toSorted(), [
    'POD',
    'app',
  ]);
  t.is(first.docker.containers.get(id)!.detail.state, 'running');
});

test('R18: a sandbox that keeps its name for ever keeps no pod waiting', async (t) => {
  const agent = await createFakeAgent(t);
  const name = 'k8s_POD_web_default_uid-1_0';
  const conflict = () =>
    new DockerError('create container', 'conflict', `The container name "/${name}" is in use`, 409);
  const create = agent.docker.createContainer.bind(agent.docker);
  agent.docker.createContainer = async (wanted, config, signal) => {
    if (wanted === name) throw conflict();
    return create(wanted, config, signal);
  };
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const [sandbox] = agent.runtime.pod('uid-1').sandboxes;
  t.regex(agent.docker.containers.get(sandbox!.id)!.detail.name, new RegExp(`^${name}_[0-9a-f]{8}$`));
  agent.workers.update(deleted(one, 1));
  await until('finished', () => agent.finished.includes('uid-1'));
  t.is(agent.docker.containers.size, 0);
});

test('R18: sandboxes half made never pile up', async (t) => {
  const agent = await createFakeAgent(t);
  const create = agent.docker.createContainer.bind(agent.docker);
  let answersLost = 2;
  let most = 0;
  agent.docker.createContainer = async (name, config, signal) => {
    const made = await create(name, config, signal);
    most = Math.max(most, agent.docker.containers.size);
    if (name.startsWith('k8s_POD_') && answersLost-- > 0)
      throw new DockerError('create container', 'timeout', 'no answer within 120 s');
    return made;
  };
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  t.true(agent.reasons().includes('FailedCreatePodSandBox'));
  t.is(most, 2, 'one sandbox at a time, and at the end its container');
  t.is(agent.runtime.pod('uid-1').sandboxes.length, 1);
});
