/**
 * SIGKILL at every step of a pod's life: the k-th call to the Engine is held, before or after the Engine has done it, the agent
 * is killed there, and the next one must reach what was wanted: nothing that ran is restarted, nothing is there twice, nothing is left.
 * CI takes a sample of the steps, `--full` all of them.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
import { eventually } from '../../support/agent.ts';
import type { AgentChildReport } from '../../support/agent-child.ts';
import { type DockerFaultProxy, startDockerFaultProxy } from '../../support/docker-fault-proxy.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
const isFull = process.env.BERTH_TEST_FULL === '1';
/** Steps of one test in CI, spread over all there are. */
const SAMPLE = 3;
/** Calls that are steps of a pod's life; the rest is watching. */
const STEPS = { path: /^\/(containers|images)\// };
const POD = 'life-node-1';

let engine: PrivateDockerd;
let proxy: DockerFaultProxy;
let base: string;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    proxy = await startDockerFaultProxy(engine.socketPath);
  });
  test.after.always(async () => {
    await proxy?.close();
    await engine?.stop();
  });
}

interface Child {
  process: ChildProcess;
  report: AgentChildReport;
}

let child: Child | undefined;

function startAgent(): Child {
  const script = join(import.meta.dirname, '../../support/agent-child.ts');
  const started: Child = { process: fork(script, [proxy.endpoint, base], { execArgv: [] }), report: {} };
  started.process.on('message', (report: AgentChildReport) => {
    started.report = report;
  });
  child = started;
  return started;
}

/** SIGKILL, and with it the ends of its connections: what was held before the Engine never happens. */
async function killAgent(): Promise<void> {
  if (!child) return;
  const exited = once(child.process, 'exit');
  child.process.kill('SIGKILL');
  await exited;
  child = undefined;
  proxy.dropConnections();
  await new Promise((resolve) => setTimeout(resolve, 20));
  proxy.clear();
}

const POLITE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];

async function applyPod(): Promise<void> {
  const container = (name: string, more: object = {}) => ({
    name,
    image: BUSYBOX_IMAGE,
    imagePullPolicy: 'Never',
    command: POLITE,
    ...more,
  });
  const address = { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } };
  const spec = {
    dnsPolicy: 'Default',
    terminationGracePeriodSeconds: 2,
    initContainers: [container('init', { command: ['true'] }), container('side', { restartPolicy: 'Always' })],
    containers: [container('one'), container('two', { env: [address] })],
    volumes: [{ name: 'scratch', emptyDir: {} }],
  };
  await mkdir(join(base, 'manifests'), { recursive: true });
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'life' }, spec };
  await writeFile(join(base, 'manifests/life.json'), JSON.stringify(pod));
}

const removePod = () => rm(join(base, 'manifests/life.json'));
const isRunning = async () => {
  const rows = await engine.docker.listContainers({});
  const running = rows.filter(({ state }) => state === 'running').map(({ name }) => name.split('_')[1]);
  return (
    child?.report[POD]?.phase === 'Running' && ['POD', 'one', 'side', 'two'].every((name) => running.includes(name))
  );
};

/** By name: id and process of what runs. */
async function running(): Promise<Map<string, string>> {
  const rows = (await engine.docker.listContainers({})).filter(({ state }) => state === 'running');
  const details = await Promise.all(rows.map(({ id }) => engine.docker.inspectContainer(id)));
  return new Map(details.map(({ name, id, pid }) => [name, `${id} ${pid}`]));
}

const attachments = async () =>
  JSON.parse(await readFile(join(base, 'network.json'), 'utf8').catch(() => '[]')) as [string, unknown][];

/** Everything that the pod wants, once, in its first run unless said otherwise. */
async function assertWhole(t: ExecutionContext, step: string, restarted: Record<string, number> = {}): Promise<void> {
  const rows = await engine.docker.listContainers({});
  const of = (wanted: string) => rows.filter(({ name }) => name.split('_')[1] === wanted);
  for (const name of ['side', 'one', 'two']) {
    const alive = of(name).filter(({ state }) => state === 'running');
    t.deepEqual(
      alive.map((row) => row.name.split('_')[5]),
      [String(restarted[name] ?? 0)],
      `${step}: ${name}`,
    );
    t.true(of(name).length <= 1 + (restarted[name] ?? 0), `${step}: no leftovers of ${name}`);
  }
  t.is(of('init').length, 1, `${step}: init ran once`);
  t.is(of('POD').length, 1, `${step}: one sandbox`);
  t.deepEqual(
    (await attachments()).map(([id]) => id),
    [of('POD')[0]!.id],
    `${step}: one address`,
  );
  for (const [name, count] of Object.entries(restarted))
    t.is(child!.report[POD]!.restarts[name], count, `${step}: ${name}`);
}

/** Nothing of the pod is left on the node. */
async function assertNothing(t: ExecutionContext, step: string): Promise<void> {
  t.deepEqual(await engine.docker.listContainers({}), [], step);
  t.deepEqual(await attachments(), [], step);
  await eventually(
    `${step}: its directory goes`,
    async () => (await readdir(join(base, 'root/pods')).catch(() => [])).length === 0,
  );
  const cgroups = await openCgroups();
  const root = `/${base.split('/').pop()}/kubepods`;
  await eventually(`${step}: its cgroup goes`, async () => {
    const names = await Promise.all(['', '/burstable', '/besteffort'].map((qos) => cgroups.children(root + qos)));
    return !names.flat().some((name) => name.startsWith('pod'));
  });
}

async function cleanUp(): Promise<void> {
  await killAgent();
  for (const { id } of await engine.docker.listContainers({})) await engine.docker.removeContainer(id, { force: true });
  await (await openCgroups()).remove(`/${base.split('/').pop()}`);
  await rm(base, { recursive: true, force: true });
}

/** How many steps it takes from `begin` until `done`, without a fault. */
async function countSteps(begin: () => Promise<void>, done: () => Promise<boolean>): Promise<number> {
  proxy.calls.length = 0;
  await begin();
  await eventually('done', done);
  return proxy.calls.filter(({ path }) => STEPS.path.test(path)).length;
}

/** `1 … count`, or a sample with the first and the last, which moves on from run to run. */
function chooseSteps(count: number): number[] {
  if (isFull) return Array.from({ length: count }, (_, at) => at + 1);
  const shift = Math.random();
  return [
    ...new Set(
      Array.from({ length: SAMPLE }, (_, at) => Math.min(count, 1 + Math.floor(((at + shift) * count) / SAMPLE))),
    ),
  ];
}

/** Runs `body` for each chosen step, in a node of its own each time. */
async function atEachStep(
  t: ExecutionContext,
  setUp: () => Promise<void>,
  act: () => Promise<void>,
  done: () => Promise<boolean>,
  check: (step: string) => Promise<void>,
): Promise<void> {
  t.timeout(isFull ? 1_200_000 : 240_000);
  const fresh = async () => {
    base = await mkdtemp('/tmp/berth-kill-');
    await applyPod();
    await setUp();
  };
  await fresh();
  const count = await countSteps(act, done);
  await cleanUp();
  const steps = chooseSteps(count);
  t.log(`${count} steps, killed at ${steps.join(', ')}`);
  for (const k of steps)
    for (const when of isFull
      ? (['before', 'after'] as const)
      : [k % 2 === 0 ? ('before' as const) : ('after' as const)]) {
      await fresh();
      try {
        const frozen = proxy.freezeAt(k, when, STEPS);
        await act();
        // Of calls that run beside each other there may be one less.
        await Promise.race([frozen.struck, eventually('done', done)]);
        await killAgent();
        await check(`killed ${when} step ${k} of ${count}`);
      } finally {
        await cleanUp();
      }
    }
}

async function restartAndCompare(
  t: ExecutionContext,
  step: string,
  restarted: Record<string, number> = {},
): Promise<void> {
  const before = await running();
  startAgent();
  await eventually(`${step}: whole again`, async () => (await isRunning()) && allReported(restarted));
  const after = await running();
  for (const [name, identity] of before) {
    // It ends by itself.
    if (name.startsWith('k8s_init_')) continue;
    // A sandbox without an address is of no use; it has no containers yet.
    if (name.startsWith('k8s_POD_') && !after.has(name)) t.is(before.size, 1, `${step}: a used sandbox is gone`);
    else t.is(after.get(name), identity, `${step}: ${name} was restarted`);
  }
  await assertWhole(t, step, restarted);
}

const allReported = (restarted: Record<string, number>) =>
  Object.entries(restarted).every(([name, count]) => child?.report[POD]?.restarts[name] === count);

const noSetUp = async () => undefined;
const isUp = async () => {
  startAgent();
  await eventually('running', isRunning);
};

real('killed while a pod is being made: the next agent finishes it, and restarts nothing', async (t) => {
  const act = async () => void startAgent();
  await atEachStep(t, noSetUp, act, isRunning, (step) => restartAndCompare(t, step));
});

real('killed while a pod is being made, its manifest removed meanwhile: nothing is left', async (t) => {
  const act = async () => void startAgent();
  await atEachStep(t, noSetUp, act, isRunning, async (step) => {
    await removePod();
    startAgent();
    await eventually(`${step}: gone`, async () => (await engine.docker.listContainers({})).length === 0);
    await assertNothing(t, step);
  });
});

real('killed while a pod is being ended: the next agent ends it', async (t) => {
  const isGone = async () => (await engine.docker.listContainers({})).length === 0;
  await atEachStep(t, isUp, removePod, isGone, async (step) => {
    startAgent();
    await eventually(`${step}: gone`, isGone);
    await assertNothing(t, step);
  });
});

real('killed while a container is being restarted: it is restarted once, the others not at all', async (t) => {
  const crash = async () => {
    const [victim] = (await engine.docker.listContainers({})).filter(({ name }) => name.startsWith('k8s_one_'));
    await engine.docker.killContainer(victim!.id, 'SIGKILL');
  };
  const isBack = async () => (await isRunning()) && allReported({ one: 1 });
  await atEachStep(t, isUp, crash, isBack, (step) => restartAndCompare(t, step, { one: 1 }));
});
