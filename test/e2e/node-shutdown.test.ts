/** The node's machine shuts down: a real message bus inside the host, a logind that keeps the manual's promises, real pods. */
import test, { type ExecutionContext } from 'ava';
import type { Event, Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { startDbusDaemonInHost, whyNoDbus } from '../support/dbus-daemon.ts';
import { type FakeLogind, startFakeLogind } from '../support/logind.ts';
import { deployment, pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined) ?? whyNoDbus();
const story = skip ? test.serial.skip : test.serial;
const named = (title: string) => (skip ? `${title} (${skip})` : title);

const MANIFESTS = '/var/lib/berth/manifests';
const UP = ['up', '--kubelet-config', '/etc/berth/kubelet.yaml'];
const CONF_DIR = '/etc/systemd/logind.conf.d';
const MESSAGE = 'Pod was terminated in response to imminent node shutdown.';
let cluster: ClusterHost;
let logind: FakeLogind;

if (!skip) {
  test.before(async () => {
    cluster = await createClusterHost('shutdown');
    await cluster.sh(`mkdir -p ${CONF_DIR} /etc/berth`);
    const address = await startDbusDaemonInHost(cluster.host);
    logind = await startFakeLogind(address, { confDir: cluster.host.path(CONF_DIR) });
    const config = {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      shutdownGracePeriod: '20s',
      shutdownGracePeriodCriticalPods: '8s',
    };
    await cluster.sh(`echo '${JSON.stringify(config)}' >/etc/berth/kubelet.yaml`);
    await cluster.berthOk(...UP);
    await cluster.loadImages();
  });
  test.after.always(async () => {
    logind?.stop();
    await cluster?.close();
  });
}

const get = (name: string, namespace = 'default') => cluster.get<Pod>('pod', '-n', namespace, name);
const condition = (object: Pod | Node, type: string) => object.status?.conditions?.find((one) => one.type === type);
const whenReady = (name: string, namespace = 'default') =>
  until(`${name} is ready`, async () => condition(await get(name, namespace), 'Ready')?.status === 'True');
const node = async () => (await cluster.list<Node>('nodes'))[0]!;
const finishedAt = (found: Pod) =>
  Date.parse(found.status?.containerStatuses?.[0]?.state?.terminated?.finishedAt ?? '');
/** Ends a second after it was told to. */
const slow = script('trap "sleep 1; exit 0" TERM; while :; do sleep 0.1; done');

function isTerminated(t: ExecutionContext, found: Pod) {
  const name = found.metadata.name;
  t.like(found.status, { phase: 'Failed', reason: 'Terminated', message: MESSAGE }, name);
  t.like(
    condition(found, 'DisruptionTarget'),
    { status: 'True', reason: 'TerminationByKubelet', message: MESSAGE },
    name,
  );
}

story(named('the agent holds a delay lock, and has logind wait as long as its pods may take'), async (t) => {
  await until('the lock', async () => logind.locks().length === 1);
  t.like(logind.locks()[0], { what: 'shutdown', who: 'berth', mode: 'delay' });
  t.is(logind.delaySeconds(), 20);
});

story(named('pods end by priority before the machine goes; the node says so, and takes no more'), async (t) => {
  const grace = { terminationGracePeriodSeconds: 30 };
  await cluster.apply(
    pod('plain', slow, grace),
    pod('vital', slow, { ...grace, priorityClassName: 'system-node-critical' }, { namespace: 'kube-system' }),
    deployment('web', 1, slow),
  );
  const manifest = JSON.stringify(pod('filed', slow));
  await cluster.sh(`echo '${manifest}' >${MANIFESTS}/filed.yaml`);
  for (const name of ['plain', 'filed-shutdown']) await whenReady(name);
  await whenReady('vital', 'kube-system');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  const [web] = await cluster.list<Pod>('pods', '-l', 'app=web');

  const began = performance.now();
  const over = logind.shutdown();
  await until('not ready', async () => {
    const ready = condition(await node(), 'Ready');
    return ready?.status === 'False' && ready.message === 'node is shutting down';
  });
  await cluster.apply(pod('late', slow, { nodeName: 'shutdown' }));
  const late = await until('late is refused', async () => {
    const found = await get('late');
    return found.status?.phase === 'Failed' && found;
  });
  t.like(late.status, {
    reason: 'NodeShutdown',
    message: 'Pod was rejected: Pod was rejected as the node is shutting down.',
  });
  t.is(await over, 'released');
  const seconds = (performance.now() - began) / 1000;
  t.true(seconds < 15, `${seconds}`);

  const plain = await get('plain');
  const vital = await get('vital', 'kube-system');
  isTerminated(t, plain);
  isTerminated(t, vital);
  isTerminated(t, await get(web!.metadata.name));
  isTerminated(t, await get('filed-shutdown'));
  t.is(plain.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 0, 'it had its time');
  t.true(finishedAt(vital) >= finishedAt(plain) + 1000, 'the vital one was told when the others were gone');
  t.true([...(await cluster.containers()).values()].every(({ state }) => state !== 'running'));
  const events = await cluster.list<Event>(
    'events',
    '--field-selector',
    'reason=NodeShutdown,involvedObject.kind=Node',
  );
  t.is(events[0]?.message, 'Shutdown manager detected shutdown event');
  const state = JSON.parse(await cluster.sh('cat /var/lib/berth/kubelet/graceful_node_shutdown_state'));
  t.true(Date.parse(state.endTime) >= Date.parse(state.startTime));
});

story(named('after the machine is back: the node is ready, static pods and controllers’ pods run again'), async (t) => {
  const pid = (await cluster.sh('cat /run/berth/berth.pid')).trim();
  await cluster.sh(`kill -KILL ${pid}`);
  logind.cancel();
  await cluster.berthOk(...UP);
  await until('the lock is taken again', async () => logind.locks().length === 1);
  await until('ready', async () => condition(await node(), 'Ready')?.status === 'True');
  await whenReady('filed-shutdown');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  isTerminated(t, await get('plain'));
  isTerminated(t, await get('vital', 'kube-system'));
});

story(named('a shutdown that is called off leaves a node that works'), async (t) => {
  const over = logind.shutdown();
  await until('not ready', async () => condition(await node(), 'Ready')?.status === 'False');
  await over;
  logind.cancel();
  await until('ready', async () => condition(await node(), 'Ready')?.status === 'True');
  await until('the lock', async () => logind.locks().length === 1);
  await cluster.apply(pod('after', script('exec sleep 3600')));
  await whenReady('after');
  const events = await cluster.list<Event>(
    'events',
    '--field-selector',
    'reason=NodeShutdown,involvedObject.kind=Node',
  );
  t.true(events.some(({ message }) => message === 'Shutdown manager detected shutdown cancellation'));
});

/** Half a minute of grace periods: only with --full. */
const fullStory = process.env['BERTH_TEST_FULL'] === '1' ? story : test.serial.skip;
fullStory(
  named('an agent that is killed in the middle of a shutdown goes on with it when it is back (--full)'),
  async (t) => {
    const deaf = script('trap "sleep 7; exit 0" TERM; while :; do sleep 0.1; done');
    const grace = { terminationGracePeriodSeconds: 30 };
    await cluster.apply(
      pod('first', deaf, grace),
      pod('last', slow, { ...grace, priorityClassName: 'system-node-critical' }, { namespace: 'kube-system' }),
    );
    await whenReady('first');
    await whenReady('last', 'kube-system');
    // Somebody else's lock keeps the machine, when the agent's own is gone with it.
    const other = logind.hold();
    const over = logind.shutdown();
    await until('not ready', async () => condition(await node(), 'Ready')?.status === 'False');
    await cluster.sh('kill -KILL "$(cat /run/berth/berth.pid)"');
    // It waits for a node that is Ready.
    const up = cluster.berthOk(...UP);
    const ended = (name: string, namespace?: string) =>
      until(`${name} has failed`, async () => {
        const found = await get(name, namespace);
        return found.status?.phase === 'Failed' && found;
      });
    isTerminated(t, await ended('first'));
    isTerminated(t, await ended('last', 'kube-system'));
    t.is(condition(await node(), 'Ready')?.message, 'node is shutting down');
    await until('the shutdown is recorded', async () => {
      const state = JSON.parse(await cluster.sh('cat /var/lib/berth/kubelet/graceful_node_shutdown_state'));
      return Date.parse(state.endTime) >= Date.parse(state.startTime);
    });
    other.release();
    await over;
    logind.cancel();
    await up;
    await until('ready', async () => condition(await node(), 'Ready')?.status === 'True');
  },
);
