import test from 'ava';
import type { EphemeralContainer, Pod } from '../../../../src/kube/types.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

const withSpec = (one: Pod, spec: Partial<Pod['spec']>): Pod => ({ ...one, spec: { ...one.spec, ...spec } });
const CONTAINERS = [{ name: 'app', image: 'busybox:1' }];

test('a refused pod fails before anything of it is made', async (t) => {
  const agent = await createFakeAgent(t);
  agent.docker.calls.length = 0;
  agent.workers.update(podOf({ containers: CONTAINERS, runtimeClassName: 'gvisor' }));
  await until('finished', () => agent.finished.includes('uid-1'));
  t.like(agent.statuses.get('uid-1')!, { phase: 'Failed', reason: 'PodFeatureUnsupported' });
  t.deepEqual(
    agent.docker.calls.filter((call) => /^(create|start)/.test(call)),
    [],
  );
});

test('fields without effect: one event for all of them, at the first start only', async (t) => {
  const agent = await createFakeAgent(t);
  const windowsOptions = { runAsUserName: 'someone' };
  const one = podOf({
    containers: CONTAINERS,
    securityContext: { windowsOptions },
    ...({ restartpolicy: 'x' } as object),
  });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update({ ...one });
  agent.docker.exit(agent.container(one, 'app')!.id, 1);
  await until('again', () => agent.container(one, 'app')?.restartCount === 1);
  const told = agent.events.filter(({ reason }) => reason === 'FieldsWithoutEffect');
  t.deepEqual(
    told.map(({ message }) => message),
    ['without effect on this node: spec.securityContext.windowsOptions: Windows only; spec.restartpolicy: unknown'],
  );
});

test('an ephemeral container that asks for too much waits and says so; another one runs', async (t) => {
  const agent = await createFakeAgent(t);
  const one = podOf({ containers: CONTAINERS });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const appArmorProfile = { type: 'RuntimeDefault' } as const;
  const ephemeralContainers: EphemeralContainer[] = [
    { name: 'confined', image: 'busybox:1', securityContext: { appArmorProfile } },
    { name: 'plain', image: 'busybox:1' },
  ];
  agent.workers.update(withSpec(one, { ephemeralContainers }));
  const statusOf = (name: string) =>
    agent.statuses.get('uid-1')?.ephemeralContainerStatuses?.find((status) => status.name === name)?.state;
  await until('told', () => statusOf('confined')?.waiting?.message && statusOf('plain')?.running);
  t.like(statusOf('confined')!.waiting!, {
    reason: 'CreateContainerConfigError',
    message: 'Cannot enforce AppArmor: AppArmor is not enabled on the host',
  });
});
