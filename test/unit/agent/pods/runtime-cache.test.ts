import test from 'ava';
import { LABEL } from '../../../../agent/containers/identity.ts';
import { createRuntimeCache } from '../../../../agent/pods/runtime-cache.ts';
import type { ContainerDetail, ContainerEvent } from '../../../../src/docker/engine.ts';
import { DockerError } from '../../../../src/docker/errors.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';
import { createFakeDocker } from '../../../fakes/docker.ts';
import { noMetrics } from '../../../support/agent.ts';

const NODE = 'node-1';

function createCache() {
  const docker = createFakeDocker();
  docker.addImage('i:1');
  const clock = createFakeClock();
  const changed: string[] = [];
  const unreadable: string[] = [];
  let missed = 0;
  const cache = createRuntimeCache({
    docker,
    network: { ips: () => ['10.0.0.9'] },
    nodeName: NODE,
    metrics: noMetrics,
    clock,
    log: silentLogger,
    onChange: (uid) => changed.push(uid),
    onUnreadable: (uid) => unreadable.push(uid),
    onMissedEvent: () => missed++,
  });
  const hung = new Set<string>();
  const { inspectContainer } = docker;
  docker.inspectContainer = async (id, signal): Promise<ContainerDetail> => {
    if (hung.has(id)) throw new DockerError('inspect', 'timeout', 'DeadlineExceeded: no answer within 10 s');
    return inspectContainer(id, signal);
  };
  async function run(uid: string, name: string, options: { isHostNetwork?: boolean } = {}): Promise<string> {
    const { id } = await docker.createContainer(`k8s_${name}_p-${uid}_default_${uid}_0`, {
      Image: 'i:1',
      Labels: {
        [LABEL.podName]: `p-${uid}`,
        [LABEL.podNamespace]: 'default',
        [LABEL.podUid]: uid,
        [LABEL.containerName]: name,
        [LABEL.node]: NODE,
        [LABEL.hash]: 'abc',
        [LABEL.sandboxId]: 'sandbox',
      },
      HostConfig: { NetworkMode: options.isHostNetwork ? 'host' : 'none' },
    });
    await docker.startContainer(id);
    return id;
  }
  const event = (action: string, id: string): ContainerEvent => ({ action, id, attributes: {}, timeNano: 1n });
  const missedEvents = () => missed;
  return { cache, docker, clock, changed, unreadable, missedEvents, hung, run, event };
}

const signal = new AbortController().signal;

test('R4: a container that hangs is guessed from its row; all others are known, and the relist is a good one', async (t) => {
  const { cache, run, hung, unreadable } = createCache();
  const [bad, pause] = [await run('bad', 'app'), await run('bad', 'POD', { isHostNetwork: true })];
  const good = await Promise.all(Array.from({ length: 20 }, (_, n) => run(`good-${n}`, 'app')));
  hung.add(bad).add(pause);
  let isListed = false;
  await cache.relist(signal, () => {
    isListed = true;
  });
  t.true(isListed);
  t.not(cache.lastRelistMonotonicMs(), undefined);
  for (const [n, id] of good.entries()) t.like(cache.pod(`good-${n}`).containers[0], { id, state: 'running' });
  const { containers, sandboxes, name } = cache.pod('bad');
  t.is(name, 'p-bad');
  t.like(containers[0], { id: bad, state: 'running', hash: 'abc', sandboxId: 'sandbox', restartCount: 0 });
  t.like(sandboxes[0], { id: pause, state: 'running', hostNetwork: true, ips: ['10.0.0.9'] });
  t.deepEqual(unreadable, ['bad', 'bad']);
});

test('R4: one that has ended and cannot be inspected is unknown, never as if it had not been; inspected later it is whole', async (t) => {
  const { cache, docker, run, hung, changed } = createCache();
  const id = await run('u', 'app');
  docker.exit(id, 3);
  hung.add(id);
  await cache.relist(signal);
  t.like(cache.pod('u').containers[0], { state: 'unknown', exitCode: undefined });
  hung.clear();
  changed.length = 0;
  await cache.relist(signal);
  t.like(cache.pod('u').containers[0], { state: 'exited', exitCode: 3, reason: 'Error' });
  t.deepEqual(changed, ['u']);
});

test('R4: what was known of a container stays while it hangs; a row that was guessed is inspected again', async (t) => {
  const { cache, run, hung } = createCache();
  const [known, guessed] = [await run('k', 'app'), await run('g', 'app')];
  hung.add(guessed);
  await cache.relist(signal);
  hung.add(known);
  await cache.relist(signal);
  t.like(cache.pod('k').containers[0], { id: known, state: 'running' });
  t.is(cache.pod('g').containers[0]!.startedAtMs, undefined);
  hung.clear();
  await cache.relist(signal);
  t.not(cache.pod('g').containers[0]!.startedAtMs, undefined);
});

test('only a list without an answer fails the relist', async (t) => {
  const { cache, docker } = createCache();
  docker.failNext('list', new DockerError('list containers', 'server', 'everything is broken', 500));
  await t.throwsAsync(() => cache.relist(signal), { message: /everything is broken/ });
  t.is(cache.lastRelistMonotonicMs(), undefined);
});

test('a half-open stream: the list shows an end that no event told of', async (t) => {
  const { cache, docker, clock, run, event, missedEvents } = createCache();
  const [told, untold] = [await run('a', 'app'), await run('b', 'app')];
  await cache.relist(signal);
  docker.exit(told, 0);
  docker.exit(untold, 0);
  cache.onEvent(event('die', told));
  await settle();
  await cache.relist(signal);
  t.is(cache.pod('b').containers[0]!.state, 'exited');
  t.is(missedEvents(), 0, 'it may still be on its way');
  await clock.advance(5_000);
  t.is(missedEvents(), 1);
});

test('a half-open stream: what we started ourselves is not told of', async (t) => {
  const { cache, clock, run, event, missedEvents } = createCache();
  const [told, untold] = [await run('a', 'app'), await run('b', 'app')];
  await cache.relist(signal);
  for (const id of [told, untold]) cache.recordContainerStarted(id, 1);
  cache.onEvent(event('start', told));
  await clock.advance(5_000);
  t.is(missedEvents(), 1);
});

test('R21: events that come twice, late, in any order, or about what is gone leave the same picture', async (t) => {
  const { cache, docker, run, event } = createCache();
  const id = await run('u', 'app');
  await cache.relist(signal);
  docker.exit(id, 1);
  for (const action of ['die', 'start', 'die', 'start', 'start']) cache.onEvent(event(action, id));
  await settle();
  t.like(cache.pod('u').containers[0], { id, state: 'exited', exitCode: 1 });
  t.is(cache.pod('u').containers.length, 1);
  await docker.removeContainer(id);
  for (const action of ['destroy', 'start', 'die', 'destroy']) cache.onEvent(event(action, id));
  await settle();
  t.deepEqual(cache.uids(), []);
});

test('R1: a container that has ended by the word of /proc stays ended, whatever the Engine goes on saying', async (t) => {
  const { cache, run } = createCache();
  const id = await run('u', 'app');
  await cache.relist(signal);
  cache.recordEnded(id, 'its process is gone');
  const ended = { state: 'exited', exitCode: 137, reason: 'ContainerStatusUnknown', message: 'its process is gone' };
  t.like(cache.pod('u').containers[0], ended);
  await cache.relist(signal);
  t.like(cache.pod('u').containers[0], ended);
});

test('OOMKilled: the event tells, whether it comes before the end is seen, after it, or long before', async (t) => {
  const { cache, docker, run, event, changed, clock } = createCache();
  const [late, early, other] = await Promise.all(['late', 'early', 'other'].map((uid) => run(uid, 'app')));
  await cache.relist(signal);
  const reasonOf = (uid: string) => cache.pod(uid).containers[0]?.reason;

  docker.exit(late!, 137);
  cache.onEvent(event('die', late!));
  await clock.advance(1_000);
  t.is(reasonOf('late'), 'Error');
  changed.length = 0;
  cache.onEvent(event('oom', late!));
  t.is(reasonOf('late'), 'OOMKilled');
  t.deepEqual(changed, ['late']);
  cache.onEvent(event('oom', late!));
  t.deepEqual(changed, ['late'], 'it is told once');

  // A child of the first process, which ends by itself a good while later.
  cache.onEvent(event('oom', early!));
  docker.exit(early!, 3);
  docker.exit(other!, 3);
  await cache.relist(signal);
  await clock.advance(1_000);
  t.is(reasonOf('early'), 'OOMKilled');
  t.is(reasonOf('other'), 'Error');
});
