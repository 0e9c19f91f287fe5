import test from 'ava';
import { createEndWaiters } from '../../../../agent/pods/end-waiters.ts';
import type { PodVerdict } from '../../../../agent/pods/verdict.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

const VERDICT: PodVerdict = {
  phase: 'Failed',
  reason: 'Evicted',
  message: 'The node was low on resource: memory. ',
  graceSeconds: 3,
  condition: { type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet', message: 'low on memory' },
};

function pod(terminationGracePeriodSeconds = 30, preStopSeconds = 0) {
  const lifecycle = preStopSeconds ? { lifecycle: { preStop: { sleep: { seconds: preStopSeconds } } } } : {};
  return podOf({
    terminationGracePeriodSeconds,
    dnsPolicy: 'Default',
    restartPolicy: 'Always',
    containers: [{ name: 'app', image: 'busybox:1', ...lifecycle }],
  });
}

test('a condemned pod is ended within the shorter grace, and fails with the verdict when nothing of it runs', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const publishedBefore = agent.published.length;
  await agent.workers.condemn('uid-1', VERDICT);
  t.true(agent.docker.calls.some((call) => /^stop [0-9a-f]{64} 3$/.test(call)));
  t.deepEqual(agent.runningNames(), []);
  await until('finished', () => agent.workers.get('uid-1')?.state === 'finished');
  const status = agent.statuses.get('uid-1')!;
  t.like(status, { phase: 'Failed', reason: 'Evicted', message: VERDICT.message });
  t.true(status.containerStatuses![0]!.state!.terminated !== undefined, 'what its containers did stays to be seen');
  t.like(status.conditions!.find(({ type }) => type === 'DisruptionTarget')!, { ...VERDICT.condition });
  t.is(typeof status.conditions!.find(({ type }) => type === 'DisruptionTarget')!.lastTransitionTime, 'string');
  // Neither phase nor condition before the last container has ended.
  for (const { status: shown } of agent.published.slice(publishedBefore))
    t.is(
      shown.phase === 'Failed',
      shown.conditions!.some(({ type }) => type === 'DisruptionTarget'),
    );
});

test('a verdict never lengthens the grace that the pod has, and a second one does not replace the first', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod(600, 500);
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  void agent.workers.condemn('uid-1', { ...VERDICT, graceSeconds: 5000 });
  t.is(agent.workers.get('uid-1')!.graceSeconds, 600);
  await until('being killed', () => agent.reasons().includes('Killing'));
  await agent.workers.condemn('uid-1', { ...VERDICT, reason: 'Preempting', graceSeconds: 0 });
  t.is(agent.workers.get('uid-1')!.graceSeconds, 0);
  await until('published', () => agent.phase(one) === 'Failed');
  t.is(agent.statuses.get('uid-1')!.reason, 'Evicted');
});

test('a pod that is condemned before it ever ran fails, and is no rejection at the door', async (t) => {
  const agent = await createFakeAgent(t);
  agent.network.failNext(new Error('no address left'));
  const one = pod();
  agent.workers.update(one);
  await until('failed', () => agent.reasons().includes('FailedCreatePodSandBox'));
  await agent.workers.condemn('uid-1', VERDICT);
  await until('published', () => agent.phase(one) === 'Failed');
  t.is(agent.statuses.get('uid-1')!.message, VERDICT.message);
  t.truthy(agent.statuses.get('uid-1')!.conditions);
});

test('condemning what has ended, or is unknown, is over at once', async (t) => {
  const agent = await createFakeAgent(t);
  await agent.workers.condemn('uid-unknown', VERDICT);
  agent.workers.update(pod());
  await agent.workers.condemn('uid-1', VERDICT);
  await until('finished', () => agent.workers.get('uid-1')?.state === 'finished');
  await agent.workers.condemn('uid-1', { ...VERDICT, reason: 'Other' });
  t.is(agent.statuses.get('uid-1')!.reason, 'Evicted');
});

test('whoever waits for an end hears when the agent stops', async (t) => {
  const ends = createEndWaiters();
  const [first, second] = [ends.wait('a'), ends.wait('b')];
  ends.ended('a');
  await first;
  ends.abandon(new Error('stopping'));
  await t.throwsAsync(second, { message: 'stopping' });
  await t.throwsAsync(ends.wait('c'), { message: 'stopping' });
});
