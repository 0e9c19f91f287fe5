import test from 'ava';
import type { StatusManager } from '../../../../agent/pods/ports.ts';
import { createStatusManager } from '../../../../agent/status/manager.ts';
import type { KubeClient } from '../../../../src/kube/client.ts';
import type { Pod, PodStatus } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

const POD = podOf({
  terminationGracePeriodSeconds: 0,
  dnsPolicy: 'Default',
  containers: [{ name: 'app', image: 'busybox:1' }],
});
const DELETED: Pod = {
  ...POD,
  metadata: { ...POD.metadata, deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 0 },
};

/** A status manager whose news lands when the test says so. */
function slowStatus() {
  const statuses = new Map<string, PodStatus>();
  const landing = Promise.withResolvers<void>();
  let asked = false;
  const status: StatusManager = {
    get: (uid) => statuses.get(uid),
    known: (pod) => statuses.get(pod.metadata.uid),
    set: (pod, value) => void statuses.set(pod.metadata.uid, value),
    landed(_, signal) {
      asked = true;
      return Promise.race([
        landing.promise,
        new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      ]);
    },
    observe() {},
    finished() {},
    retain() {},
    async run() {},
  };
  return { status, statuses, land: landing.resolve, wasAsked: () => asked };
}

test('R2: a pod’s address is its own until the API has heard that it is over', async (t) => {
  const { status, statuses, land, wasAsked } = slowStatus();
  const agent = await createFakeAgent(t, { status });
  agent.workers.update(POD);
  await until('running', () => statuses.get('uid-1')?.phase === 'Running');
  t.is(agent.network.attachments.size, 1);
  agent.workers.update(DELETED);
  await until('told', wasAsked);
  t.true(['Succeeded', 'Failed'].includes(statuses.get('uid-1')!.phase!), 'with all that is final');
  t.is(statuses.get('uid-1')!.conditions!.find(({ type }) => type === 'Ready')!.status, 'False');
  t.deepEqual(agent.runningNames(), ['k8s_POD_web_default_uid-1_0'], 'nothing of it answers any more');
  await settle();
  t.is(agent.network.attachments.size, 1, 'the address is not free yet');
  land();
  await until('free', () => agent.network.attachments.size === 0);
  t.deepEqual(agent.runningNames(), []);
});

test('R2: an API server that is away keeps the address for seconds, not for ever', async (t) => {
  const clock = createFakeClock();
  const { status, statuses, wasAsked } = slowStatus();
  const agent = await createFakeAgent(t, { status, clock });
  agent.workers.update(POD);
  await until('running', () => statuses.get('uid-1')?.phase === 'Running');
  agent.workers.update(DELETED);
  await until('told', wasAsked);
  await clock.advance(4_000);
  t.is(agent.network.attachments.size, 1);
  await clock.advance(1_000);
  await until('free', () => agent.network.attachments.size === 0);
});

/** An API server that answers one patch at a time, when told. */
function slowApi(pod: Pod) {
  const waiting: { go(): void; fail(error: Error): void }[] = [];
  const client = {
    async patch() {
      await new Promise<void>((resolve, reject) => waiting.push({ go: resolve, fail: reject }));
      return { ...pod, metadata: { ...pod.metadata, resourceVersion: String(waiting.length + 1) } };
    },
  } as unknown as KubeClient;
  return { client, waiting };
}

test('R2: what was set last has landed when its patch is answered, after failures too', async (t) => {
  const clock = createFakeClock();
  const { client, waiting } = slowApi(POD);
  const manager = createStatusManager({ client, mirrors: { of: () => undefined }, log: silentLogger, clock });
  const stop = new AbortController();
  const running = manager.run(stop.signal);
  await manager.landed('unknown', stop.signal);
  manager.set(POD, { phase: 'Running' });
  let hasLanded = false;
  const landing = manager.landed('uid-1', stop.signal).then(() => {
    hasLanded = true;
  });
  await settle();
  waiting[0]!.fail(new Error('connection refused'));
  await settle();
  t.false(hasLanded);
  await clock.advance(1_000);
  waiting[1]!.go();
  await landing;
  t.true(hasLanded);
  manager.set(POD, { phase: 'Failed' });
  const patience = AbortSignal.abort(new Error('enough'));
  await t.throwsAsync(manager.landed('uid-1', patience), { message: 'enough' });
  stop.abort();
  await settle();
  for (const one of waiting) one.go();
  await running;
});

test('R2: without an API server nobody waits', async (t) => {
  const manager = createStatusManager({
    mirrors: { of: () => undefined },
    log: silentLogger,
    clock: createFakeClock(),
  });
  manager.set(POD, { phase: 'Running' });
  await t.notThrowsAsync(manager.landed('uid-1', new AbortController().signal));
});
