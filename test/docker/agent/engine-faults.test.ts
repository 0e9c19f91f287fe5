/**
 * The agent on a real Engine that hangs, errs, lies, dies and comes back. Whatever befalls one container or one call, the
 * other pods go on, nothing is made twice, nothing is restarted without cause.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { connectDocker } from '../../../src/docker/connect.ts';
import type { DockerEngine } from '../../../src/docker/engine.ts';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type DockerFaultProxy, startDockerFaultProxy } from '../../support/docker-fault-proxy.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
const network = createFakePodNetwork();
const dockerdFlags: string[] = [];
let engine: PrivateDockerd;
let proxy: DockerFaultProxy;
let docker: DockerEngine;
let node: TestAgent;

const RELIST_MS = 1_000;

async function createNode(attachments = network.attachments, base?: string): Promise<TestAgent> {
  const options = { relistMs: RELIST_MS, fileCheckMs: 1_000, crashLoopMaxMs: 3_000 };
  const own = attachments === network.attachments ? network : createFakePodNetwork(attachments);
  return createTestAgent({ docker, network: own, options, ...(base && { base }) });
}

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd({ flags: dockerdFlags });
    await loadTestImages(engine.socketPath);
    proxy = await startDockerFaultProxy(engine.socketPath);
    docker = connectDocker(proxy.endpoint, { requestTimeoutMs: 2_000, inspectTimeoutMs: 1_000 });
    node = await createNode();
    node.start();
  });
  // What a failed test leaves behind must not fail the next one.
  test.afterEach.always(async () => {
    proxy.clear();
    for (const name of await readdir(node.manifests)) await rm(join(node.manifests, name));
    await eventually('no pod is left', () => node.agent.directory.list().length === 0);
  });
  test.after.always(async () => {
    proxy?.clear();
    await node?.remove().finally(async () => {
      docker?.close();
      await proxy?.close();
      await engine?.stop();
    });
  });
}

const POLITE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];

function manifest(name: string, command = POLITE) {
  const container = { name: 'app', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command };
  const spec = { dnsPolicy: 'Default', terminationGracePeriodSeconds: 1, containers: [container] };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec };
}

const app = (name: string) => node.runtime(name)?.containers.find((container) => container.name === 'app');
const isRunning = (name: string) => node.pod(name)?.status?.phase === 'Running';
const eventsOf = (name: string, reason: string) =>
  node.events.filter((event) => event.pod === `${name}-node-1` && event.reason === reason);

async function run(...names: string[]): Promise<void> {
  for (const name of names) await node.apply(manifest(name));
  for (const name of names) await eventually(`${name} runs`, () => isRunning(name));
}

async function gone(...names: string[]): Promise<void> {
  for (const name of names) await node.unapply(name);
  for (const name of names) await eventually(`${name} is gone`, () => !node.pod(name));
}

/** Name, id and process of everything that runs, by the Engine itself. */
async function picture(): Promise<string[]> {
  const rows = (await engine.docker.listContainers({})).filter(({ state }) => state === 'running');
  const details = await Promise.all(rows.map(({ id }) => engine.docker.inspectContainer(id)));
  return details.map(({ name, id, pid }) => `${name} ${id} ${pid}`).toSorted();
}

real(
  'R4: a container whose inspection hangs for ever: a restarted agent adopts all, starts others, and is not unhealthy',
  async (t) => {
    await run('good', 'bad');
    const before = await picture();
    const bad = app('bad')!.id;
    await node.stop();
    proxy.on({ path: new RegExp(`/containers/${bad}/json`) }, { kind: 'hang', when: 'before' });
    const base = node.manifests.replace(/\/manifests$/, '');
    node = await createNode(network.attachments, base);
    node.start();
    await eventually('the good one is known', () => isRunning('good'));
    await node.apply(manifest('late'));
    await eventually('another pod starts', () => isRunning('late'));
    await eventually('the trouble is told', () => eventsOf('bad', 'FailedSync').length > 0);
    t.regex(eventsOf('bad', 'FailedSync')[0]!.message, /^error determining status: DeadlineExceeded: .* within 1 s$/);
    t.deepEqual(eventsOf('good', 'FailedSync'), []);
    const listed = node.agent.directory.lastRelistMonotonicMs()!;
    await eventually('relists go on', () => node.agent.directory.lastRelistMonotonicMs()! > listed + RELIST_MS);
    t.is(app('bad')!.state, 'running');
    proxy.clear();
    await eventually('known again', () => app('bad')?.startedAtMs !== undefined);
    t.deepEqual(
      (await picture()).filter((line) => !line.includes('_late')),
      before,
    );
    await gone('good', 'bad', 'late');
  },
);

real(
  'R5: at most one inspection of a container is under way, however many events come; sizes are never asked for',
  async (t) => {
    proxy.calls.length = 0;
    proxy.on({ path: /\/containers\/.*\/json$/ }, { kind: 'delay', ms: 60 });
    await run('busy-1', 'busy-2', 'busy-3');
    for (const name of ['busy-1', 'busy-2', 'busy-3']) await engine.docker.killContainer(app(name)!.id, 'SIGKILL');
    for (const name of ['busy-1', 'busy-2', 'busy-3'])
      await eventually(`${name} again`, () => app(name)?.restartCount === 1 && app(name)?.state === 'running');
    const inspections = proxy.calls.filter(({ path }) => /^\/containers\/[0-9a-f]{64}\/json$/.test(path));
    t.true(inspections.length > 3);
    for (const call of inspections) {
      const others = inspections.filter(
        (one) =>
          one !== call && one.path === call.path && one.beganMs > call.beganMs && one.beganMs < call.endedMs! - 5,
      );
      t.deepEqual(others, [], call.path);
    }
    t.deepEqual(
      proxy.calls.filter(({ query }) => query.includes('size')),
      [],
    );
    await gone('busy-1', 'busy-2', 'busy-3');
  },
);

real(
  'R1: the Engine says that it runs, its process is gone and no call is answered: the pod ends all the same, and says who disagrees',
  async (t) => {
    await run('lost');
    const container = app('lost')!;
    const { pid } = await engine.docker.inspectContainer(container.id);
    // Without its containerd the Engine neither hears of an exit nor can it kill.
    const containerd = await childNamed(engine.pid, 'containerd');
    process.kill(containerd, 'SIGSTOP');
    try {
      process.kill(pid!, 'SIGKILL');
      await eventually('its process is gone', () => processIsGone(pid!));
      t.is(await stateInList(container.id), 'running');
      const beganMs = performance.now();
      await gone('lost');
      t.log(`terminated after ${Math.round(performance.now() - beganMs)} ms`);
      const [told] = eventsOf('lost', 'ContainerStatusUnknown');
      t.regex(
        told!.message,
        /the kernel has no process of container app any more, though the Docker Engine .*DeadlineExceeded/,
      );
      t.is(await stateInList(container.id), 'running', 'it still says so');
      t.false(network.attachments.has(container.sandboxId));
    } finally {
      process.kill(containerd, 'SIGCONT');
    }
    await eventually(
      'the leftovers go when the Engine can',
      async () => (await engine.docker.listContainers({})).length === 0,
    );
  },
);

real(
  'R18: a sandbox whose creation is not answered in time: the half-made one gives way, nothing piles up',
  async (t) => {
    const creation = proxy.on(
      { method: 'POST', path: /create$/, query: /k8s_POD_slow/, nth: 1 },
      { kind: 'hang', when: 'after' },
    );
    await node.apply(manifest('slow'));
    await creation.struck;
    await eventually('slow runs', () => isRunning('slow'));
    t.regex(eventsOf('slow', 'FailedCreatePodSandBox')[0]!.message, /DeadlineExceeded/);
    t.deepEqual((await engine.docker.listContainers({})).map(({ name }) => name.split('_')[1]).toSorted(), [
      'POD',
      'app',
    ]);
    await gone('slow');
  },
);

real('R18: sandboxes that cannot be started are taken back, however often', async (t) => {
  const failing = proxy.on(
    { method: 'POST', path: /\/start$/ },
    { kind: 'error', status: 500, message: 'no space for a shim' },
  );
  let most = 0;
  await node.apply(manifest('unlucky'));
  await eventually('four tries', async () => {
    most = Math.max(most, (await engine.docker.listContainers({})).length);
    return failing.hits >= 4;
  });
  t.true(most <= 2, `${most} containers at once`);
  t.regex(eventsOf('unlucky', 'FailedCreatePodSandBox')[0]!.message, /no space for a shim/);
  failing.remove();
  await eventually('it runs', () => isRunning('unlucky'));
  t.is((await engine.docker.listContainers({})).length, 2);
  await gone('unlucky');
});

real('R21: a start that is done but not answered is no reason for a second container', async (t) => {
  const start = proxy.on({ method: 'POST', path: /\/start$/, nth: 2 }, { kind: 'drop', when: 'after' });
  await node.apply(manifest('once'));
  await start.struck;
  await eventually('once runs', () => isRunning('once') && app('once')?.state === 'running');
  await sleep(RELIST_MS * 1.5);
  const rows = await engine.docker.listContainers({});
  t.deepEqual(
    rows
      .filter(({ state }) => state === 'running')
      .map(({ name }) => name.split('_')[1])
      .toSorted(),
    ['POD', 'app'],
  );
  t.is(rows.length, 2);
  await gone('once');
});

real(
  'a half-open event stream (no FIN, no data): ends are seen by the relist, and the next ones by events again',
  async (t) => {
    await run('deaf');
    proxy.on({ path: /\/events/, nth: 1 }, { kind: 'tear', afterBytes: 0, how: 'silence' });
    proxy.dropConnections();
    const opened = () => proxy.calls.filter(({ path }) => path === '/events').length;
    const streams = opened();
    await eventually('a stream that will be deaf', () => opened() > streams);
    await sleep(300);
    await engine.docker.killContainer(app('deaf')!.id, 'SIGKILL');
    await eventually('seen by the list', () => app('deaf')?.restartCount === 1 && app('deaf')?.state === 'running');
    await eventually('another stream', () => opened() > streams + 1);
    t.is(app('deaf')!.restartCount, 1);
    await gone('deaf');
  },
);

real('a crash-looping container keeps its count and its wait over a restart of the agent', async (t) => {
  const waiting = () => node.pod('looper')?.status?.containerStatuses?.[0]?.state?.waiting;
  await node.apply(manifest('looper', ['false']));
  await eventually('it waits', () => app('looper')?.restartCount === 1 && waiting()?.reason === 'CrashLoopBackOff');
  const { finishedAtMs } = app('looper')!;
  await node.stop();
  node = await createNode(network.attachments, node.manifests.replace(/\/manifests$/, ''));
  node.start();
  await eventually('it waits on', () => waiting()?.reason === 'CrashLoopBackOff' || app('looper')?.restartCount === 2);
  t.is(app('looper')!.restartCount, 1, 'not restarted because the agent was');
  t.regex(waiting()!.message!, /^back-off 3s restarting failed container=app /);
  await eventually('restarted in its time', () => app('looper')?.restartCount === 2);
  t.true(app('looper')!.createdAtMs - finishedAtMs! >= 2_900, `${app('looper')!.createdAtMs - finishedAtMs!} ms`);
  await gone('looper');
});

real('an Engine that gives no events at all: a new agent goes by the list', async (t) => {
  await node.stop();
  proxy.on({ path: /\/events/ }, { kind: 'hang', when: 'before' });
  node = await createNode(network.attachments, node.manifests.replace(/\/manifests$/, ''));
  node.start();
  await run('unheard');
  await engine.docker.killContainer(app('unheard')!.id, 'SIGKILL');
  await eventually('restarted', () => app('unheard')?.restartCount === 1 && app('unheard')?.state === 'running');
  proxy.clear();
  await gone('unheard');
  t.pass();
});

real('an Engine that answers 500 to everything, for seconds: few calls, no restarts, and all goes on', async (t) => {
  await run('patient');
  const before = await picture();
  proxy.on({}, { kind: 'error', status: 500, message: 'the Engine is not well' });
  proxy.dropConnections();
  proxy.calls.length = 0;
  const cpu = process.cpuUsage();
  await node.apply(manifest('waits'));
  await sleep(4_000);
  const { user, system } = process.cpuUsage(cpu);
  t.true(proxy.calls.length < 80, `${proxy.calls.length} calls in 4 s`);
  t.true((user + system) / 4e6 < 0.35, `${Math.round((user + system) / 4e4)} % of a core, this test with it`);
  proxy.clear();
  await eventually('the other pod runs', () => isRunning('waits'));
  t.deepEqual(
    (await picture()).filter((line) => !line.includes('_waits')),
    before,
  );
  await gone('patient', 'waits');
});

real(
  'R14: dockerd is restarted and killed again and again, with live-restore: the same containers, processes and addresses',
  async (t) => {
    await run('steady');
    const before = await picture();
    const ip = node.pod('steady')!.status!.podIP;
    await engine.restart();
    for (let crash = 0; crash < 2; crash++) {
      process.kill(engine.pid, 'SIGKILL');
      await eventually('it is dead', () => processIsGone(engine.pid));
      await engine.restart();
      await sleep(200);
    }
    await node.apply(manifest('after'));
    await eventually('a new pod runs', () => isRunning('after'));
    t.deepEqual(
      (await picture()).filter((line) => !line.includes('_after')),
      before,
    );
    t.is(node.pod('steady')!.status!.podIP, ip);
    t.is(app('steady')!.restartCount, 0);
    await gone('after', 'steady');
  },
);

real(
  'R14: agent and dockerd restarted together: still the same, and the address comes from where it was kept',
  async (t) => {
    await run('steady');
    const before = await picture();
    const ip = node.pod('steady')!.status!.podIP;
    await node.stop();
    await engine.restart();
    node = await createNode(new Map(network.attachments), node.manifests.replace(/\/manifests$/, ''));
    node.start();
    await eventually('known', () => isRunning('steady'));
    t.deepEqual(await picture(), before);
    t.is(node.pod('steady')!.status!.podIP, ip);
    await gone('steady');
  },
);

real(
  'R14: dockerd restarted without live-restore ends all containers: each pod comes back, with its count',
  async (t) => {
    dockerdFlags.push('--live-restore=false');
    await engine.restart();
    await run('phoenix-1', 'phoenix-2');
    const sandboxes = ['phoenix-1', 'phoenix-2'].map((name) => app(name)!.sandboxId);
    await engine.restart();
    for (const [at, name] of ['phoenix-1', 'phoenix-2'].entries()) {
      await eventually(
        `${name} is back`,
        () => app(name)?.state === 'running' && app(name)!.sandboxId !== sandboxes[at],
      );
      // A container that ended before its sandbox may have been restarted in it.
      t.true([1, 2].includes(app(name)!.restartCount), `${app(name)!.restartCount} restarts`);
    }
    await sleep(RELIST_MS * 1.5);
    t.is((await picture()).length, 4);
    t.true(isRunning('phoenix-1') && isRunning('phoenix-2'));
    await gone('phoenix-1', 'phoenix-2');
    t.deepEqual(await engine.docker.listContainers({}), []);
  },
);

real(
  'the machine goes down and comes back: every pod runs again, its restart counted, in its own address, nothing left of before',
  async (t) => {
    await run('reborn');
    const before = app('reborn')!;
    await node.stop();
    await engine.restart();
    const base = node.manifests.replace(/\/manifests$/, '');
    await (await openCgroups()).remove(node.cgroupRoot);
    const book = new Map(network.attachments);
    node = await createNode(book, base);
    node.start();
    await eventually(
      'it runs',
      () => app('reborn')?.state === 'running' && app('reborn')!.sandboxId !== before.sandboxId,
    );
    t.is(app('reborn')!.restartCount, 1);
    t.is((await picture()).length, 2);
    await eventually('one address', () => book.size === 1);
    await gone('reborn');
    t.deepEqual(await engine.docker.listContainers({}), []);
    t.is(book.size, 0);
  },
);

/** Of the list, which waits for no container's lock. */
async function stateInList(id: string): Promise<string | undefined> {
  return (await engine.docker.listContainers({})).find((row) => row.id === id)?.state;
}

async function childNamed(parent: number, name: string): Promise<number> {
  for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    if (stat.includes(`(${name})`) && Number(stat.split(') ')[1]?.split(' ')[1]) === parent) return Number(pid);
  }
  throw new Error(`process ${parent} has no child ${name}`);
}

/** Or a zombie that nobody reaps. */
async function processIsGone(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat === '' || /\) [ZX] /.test(stat);
}
