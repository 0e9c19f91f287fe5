/** R13: the wall clock is set three hours forward or back under a whole agent with its node, lease, probes, deadlines and back-offs. */
import test from 'ava';
import { nodes, pods } from '../../../src/kube/resources.ts';
import type { Draft, Pod } from '../../../src/kube/types.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { startWholeAgent } from '../../support/whole-agent.ts';

const HOURS_3 = 3 * 3_600_000;
const STEP_MS = 500;
const MINUTE_MS = 60_000;

const podOf = (name: string, spec: Partial<Pod['spec']>, container: object = {}): Draft<Pod> => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: {
    nodeName: 'node-1',
    dnsPolicy: 'Default',
    terminationGracePeriodSeconds: 5,
    containers: [{ name: 'app', image: 'busybox:1', ...container }],
    ...spec,
  },
});

for (const [direction, jumpMs] of [
  ['forward', HOURS_3],
  ['back', -HOURS_3],
] as const)
  test(`R13: ${direction} 3 h: a whole agent goes on as if nothing had happened`, async (t) => {
    const clock = createFakeClock();
    const node = await startWholeAgent(clock);
    t.teardown(() => node.stop());
    const { client, docker } = node;

    async function pass(ms: number): Promise<void> {
      for (let passed = 0; passed < ms; passed += STEP_MS) await clock.advance(STEP_MS);
    }
    async function passUntil(what: string, check: () => unknown): Promise<void> {
      for (let passed = 0; !check(); passed += STEP_MS) {
        if (passed > 5 * MINUTE_MS) throw new Error(`not within five minutes: ${what}`);
        await pass(STEP_MS);
      }
    }
    const peek = (name: string) => client.peek(pods, `default/${name}`);
    const isReady = (name: string) =>
      peek(name)?.status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
    const nodeReady = () => client.peek(nodes, 'node-1')?.status?.conditions?.find(({ type }) => type === 'Ready');
    const running = (name: string) =>
      [...docker.containers.values()].find(
        ({ detail }) => detail.name.startsWith(`k8s_app_${name}_`) && detail.state === 'running',
      );
    /** Calls of the Engine and writes to the API from now on. */
    function watch() {
      docker.calls.length = 0;
      client.writes.length = 0;
      const count = (list: readonly string[], what: RegExp) => list.filter((one) => what.test(one)).length;
      return { engine: (what: RegExp) => count(docker.calls, what), api: (what: RegExp) => count(client.writes, what) };
    }

    await client.create(
      pods,
      podOf('steady', {}, { readinessProbe: { exec: { command: ['true'] }, periodSeconds: 5 } }),
    );
    await client.create(pods, podOf('limited', { activeDeadlineSeconds: 600 }));
    await client.create(pods, podOf('crashing', { restartPolicy: 'Always' }));
    await passUntil('all run', () => ['steady', 'limited', 'crashing'].every(isReady));
    await passUntil('the node is ready', () => nodeReady()?.status === 'True');
    await pass(MINUTE_MS);
    const startedAt = peek('limited')!.status!.startTime!;
    const limitedSinceMs = clock.nowMs() - Date.parse(startedAt);
    const readySince = nodeReady()!.lastTransitionTime;

    const before = watch();
    await pass(2 * MINUTE_MS);
    const usual = { lists: before.engine(/^list$/), leases: before.api(/ leases$/), probes: before.engine(/^exec /) };
    t.true(usual.leases >= 10 && usual.probes >= 20 && usual.lists >= 1, JSON.stringify(usual));

    const after = watch();
    clock.step(jumpMs);
    await pass(2 * MINUTE_MS);
    t.is(after.engine(/^(start|stop|kill|remove|create) /), 0, 'nothing was started or ended');
    t.is(after.api(/pods/), 0, 'no status has changed');
    const near = (count: number, usually: number) => Math.abs(count - usually) <= 2;
    t.true(near(after.api(/ leases$/), usual.leases), `${after.api(/ leases$/)} renewals of the lease`);
    t.true(near(after.engine(/^exec /), usual.probes), `${after.engine(/^exec /)} probes`);
    // Two a minute, and one every five.
    const lists = after.engine(/^list$/);
    t.true(lists >= 2 && lists <= 6, `${lists} looks at all containers`);
    t.deepEqual(node.heartbeats.overdue(), []);
    t.is(nodeReady()!.status, 'True');
    t.is(nodeReady()!.lastTransitionTime, readySince, 'the node was ready all the time');

    // The first crash is followed by a restart at once, the second one by ten seconds, which the clock steps into.
    docker.exit(running('crashing')!.detail.id, 1);
    await passUntil('the first restart', () => running('crashing'));
    docker.exit(running('crashing')!.detail.id, 1);
    const crashedMs = clock.monotonicMs();
    await pass(4_000);
    clock.step(-jumpMs);
    await passUntil('the second restart', () => running('crashing'));
    const waitedMs = clock.monotonicMs() - crashedMs;
    t.true(waitedMs >= 9_000 && waitedMs <= 13_000, `the back-off took ${waitedMs} ms`);

    clock.step(jumpMs);
    const deadlineMs = 600_000 - limitedSinceMs - 4 * MINUTE_MS;
    const leftMs = () => deadlineMs - (clock.monotonicMs() - crashedMs);
    await pass(leftMs() - MINUTE_MS);
    t.is(peek('limited')!.status!.phase, 'Running', 'its time is not over');
    await pass(2 * MINUTE_MS);
    t.like(peek('limited')!.status, { phase: 'Failed', reason: 'DeadlineExceeded' });
    t.true(isReady('steady'));
  });
