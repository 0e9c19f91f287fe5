/** What the API shows of pods and where it comes from: static pods, readiness, events, restarts of the agent. */
import test, { type ExecutionContext } from 'ava';
import type { Event, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const canRun = !whyNoHost() && !('skip' in kubectl);
const MANIFESTS = '/var/lib/berth/manifests';

let cluster: ClusterHost;

test.before(async () => {
  if (!canRun) return;
  cluster = await createClusterHost('status');
  await cluster.berthOk('up');
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

function story(title: string, tell: (t: ExecutionContext) => Promise<unknown>, serial = false): void {
  if (!canRun) test.skip(title, (t) => t.pass());
  else (serial ? test.serial : test)(title, async (t) => void (await tell(t)));
}

const get = (name: string) => cluster.get<Pod>('pod', name);
const find = async (name: string): Promise<Pod | undefined> =>
  (await cluster.tryKubectl(['get', 'pod', name])).code === 0 ? get(name) : undefined;
const condition = ({ status }: Pod, type: string) => status?.conditions?.find((one) => one.type === type);
const isReady = (found: Pod) => condition(found, 'Ready')?.status === 'True';
const whenReady = (name: string) =>
  until(`${name} is ready`, async () => {
    const found = await find(name);
    return found && isReady(found) && found;
  });
const write = (name: string, manifest: object) =>
  cluster.sh(
    `echo '${JSON.stringify(manifest)}' >${MANIFESTS}/.${name} && mv ${MANIFESTS}/.${name} ${MANIFESTS}/${name}`,
  );
const eventsAbout = async (name: string): Promise<Event[]> =>
  JSON.parse(await cluster.kubectl('get', 'events', '-o', 'json', '--field-selector', `involvedObject.name=${name}`))
    .items;

/** Before all others: it takes the agent away from them. */
story(
  'a restarted agent keeps what it said: ready stays ready, static pods too, and nothing changed its time',
  async (t) => {
    const slow = { exec: { command: ['true'] }, periodSeconds: 60 };
    const container = { ...script('sleep 3600'), readinessProbe: slow, startupProbe: { ...slow, periodSeconds: 1 } };
    await cluster.apply(pod('kept', container));
    await write('kept.yaml', pod('kept-file', container));
    const names = ['kept', 'kept-file-status'];
    const before = await Promise.all(names.map(whenReady));
    const pid = (await cluster.sh('cat /run/berth/berth.pid')).trim();
    await cluster.sh(`kill -KILL ${pid}`);
    await cluster.berthOk('up');
    // Long enough for the first looks, short enough for no probe.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    for (const [index, name] of names.entries()) {
      const now = await get(name);
      const was = before[index]!;
      t.true(isReady(now), name);
      t.is(now.status?.startTime, was.status?.startTime, name);
      for (const type of ['Ready', 'ContainersReady', 'Initialized'])
        t.deepEqual(condition(now, type), condition(was, type), `${name} ${type}`);
      t.deepEqual(now.status?.containerStatuses, was.status?.containerStatuses, name);
      t.is(now.metadata.uid, was.metadata.uid, name);
    }
    await cluster.sh(`rm ${MANIFESTS}/kept.yaml`);
  },
  true,
);

story('a static pod: its file changes, the old pod ends before the new one starts, the mirror follows', async (t) => {
  const deaf = (greeting: string) =>
    pod('filed', script(`trap "sleep 2; exit 0" TERM; echo ${greeting}; while :; do sleep 0.1; done`), {
      terminationGracePeriodSeconds: 10,
    });
  await write('filed.yaml', deaf('one'));
  const one = await whenReady('filed-status');
  await write('filed.yaml', deaf('two'));
  const two = await until('the new one', async () => {
    const now = await find('filed-status');
    return now && now.metadata.uid !== one.metadata.uid && isReady(now) && now;
  });
  t.not(
    two.metadata.annotations?.['kubernetes.io/config.mirror'],
    one.metadata.annotations?.['kubernetes.io/config.mirror'],
  );
  t.is(await cluster.kubectl('logs', 'filed-status'), 'two\n');
  const ended = Date.parse(two.status!.startTime!) - Date.parse(one.status!.startTime!);
  t.true(ended >= 2000, `it began ${ended} ms after the first, which took 2 s to end`);
  // Half a file: named on the node, and what runs goes on.
  await cluster.sh(`echo 'apiVersion: v1' >${MANIFESTS}/filed.yaml`);
  const told = await until('an event of the node', async () =>
    (await eventsAbout('status')).find(({ reason }) => reason === 'InvalidStaticPod'),
  );
  t.regex(
    told.message!,
    /filed\.yaml is not used: expected apiVersion v1, kind Pod, found apiVersion v1, kind \(none\)/,
  );
  t.is((await get('filed-status')).metadata.uid, two.metadata.uid);
  t.true(isReady(await get('filed-status')));
  // Gone: the mirror stays until its pod has ended.
  await cluster.sh(`rm ${MANIFESTS}/filed.yaml`);
  const removedMs = Date.now();
  await until('the mirror is gone', async () => !(await find('filed-status')));
  t.true(Date.now() - removedMs >= 1500, 'not before its container');
  const left = [...(await cluster.containers()).keys()].filter((name) => name.includes('_filed-status_'));
  t.deepEqual(left, []);
});

story('a readiness gate: Ready waits for the condition of somebody else, and keeps it', async (t) => {
  const spec = { readinessGates: [{ conditionType: 'example.com/fed' }] };
  await cluster.apply(pod('gated', script('sleep 3600'), spec));
  await until('containers are ready', async () => condition(await get('gated'), 'ContainersReady')?.status === 'True');
  t.like(condition(await get('gated'), 'Ready'), {
    status: 'False',
    reason: 'ReadinessGatesNotReady',
    message: 'corresponding condition of pod readiness gate "example.com/fed" does not exist.',
  });
  const set = (status: string) =>
    cluster.kubectl(
      'patch',
      'pod',
      'gated',
      '--subresource=status',
      '-p',
      JSON.stringify({ status: { conditions: [{ type: 'example.com/fed', status }] } }),
    );
  await set('False');
  await until('told why', async () =>
    condition(await get('gated'), 'Ready')?.message?.endsWith('is not "True", but False'),
  );
  await set('True');
  t.true(isReady(await whenReady('gated')));
  t.is(condition(await get('gated'), 'example.com/fed')?.status, 'True');
});

story('observedGeneration follows the spec', async (t) => {
  await cluster.apply(pod('counted', script('sleep 3600')));
  t.is((await whenReady('counted')).status?.observedGeneration, 1);
  await cluster.kubectl('set', 'image', 'pod/counted', 'main=berth/busybox:1.0');
  const found = await until('generation 2 is observed', async () => {
    const now = await get('counted');
    return now.status?.observedGeneration === 2 && now;
  });
  t.is(found.metadata.generation, 2);
  t.is(condition(found, 'PodScheduled')?.observedGeneration, 2);
});

story('a flood of events: the first nine as they are, the rest in one that counts', async (t) => {
  const probe = { exec: { command: ['sh', '-c', 'cat /proc/uptime; exit 1'] }, periodSeconds: 1, timeoutSeconds: 30 };
  await cluster.apply(pod('noisy', { ...script('sleep 3600'), readinessProbe: probe }));
  const unhealthy = async () => (await eventsAbout('noisy')).filter(({ reason }) => reason === 'Unhealthy');
  const merged = await until(
    'merged',
    async () => (await unhealthy()).find(({ message, count }) => message?.startsWith('(combined from') && count! >= 3),
    60_000,
  );
  t.regex(merged.message!, /^\(combined from similar events\): Readiness probe failed: [\d. ]+\n?$/);
  t.is((await unhealthy()).length, 10);
});
