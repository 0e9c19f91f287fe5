/**
 * The daemon and its Engine die at rest and in the middle of work. Containers and rules stay as they are meanwhile, the next `up`
 * adopts them, and nothing is made twice or leaked.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots } from '../support/host-snapshot.ts';
import { pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;
/** What takes a minute: with `--full` only. */
const slow = (title: string, run: (t: ExecutionContext) => Promise<void>) =>
  process.env.BERTH_TEST_FULL === '1' ? story(title, run) : test.skip(`${title} (with --full only)`, run);
/** Milliseconds into a rollout (which takes some two seconds) at which the daemon is killed: one early, one in the middle, one late. */
const KILL_POINTS = [0, 700, 1400].map((from) => Math.round(from + Math.random() * 700));

/** Pods' own cgroups, in one hierarchy. */
const POD_CGROUPS = `cd /sys/fs/cgroup; [ ! -d memory ] || cd memory; find kubepods -name 'pod*' -type d | wc -l`;

let cluster: ClusterHost;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('faults');
  await cluster.berthOk('up');
  await cluster.berthOk('demo');
});
test.after.always(() => cluster?.close());

for (const signal of ['KILL', 'TERM']) {
  story(`the daemon gets SIG${signal} at rest: containers and rules stay, up adopts them`, async (t) => {
    const containers = await identities();
    const before = await cluster.snapshot();
    const pid = await daemonPid();
    await cluster.sh(`kill -${signal} ${pid}`);
    await until('the daemon is gone', () => isGone(pid));
    t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
    t.deepEqual(await identities(), containers);
    t.true(await webAnswers());
    t.is((await cluster.berth('status')).code, 1);

    await cluster.berthOk('up');
    t.not(await daemonPid(), pid);
    await settled();
    t.deepEqual(await identities(), containers);
    t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
    t.true(await webAnswers());
    await nothingTwice(t.deepEqual.bind(t));
    t.deepEqual(await restarts(), []);
  });
}

KILL_POINTS.forEach((afterMs, index) => {
  story(`the daemon is killed during a rollout (point ${index + 1}): the rollout finishes after up`, async (t) => {
    t.log(`SIGKILL ${afterMs} ms into the rollout`);
    await cluster.kubectl('rollout', 'restart', 'deployment/web');
    await sleep(afterMs);
    const pid = await daemonPid();
    await cluster.sh(`kill -KILL ${pid}`);
    await until('the daemon is gone', () => isGone(pid));
    const dead = await identities();
    await cluster.berthOk('up');
    try {
      await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
    } catch (error) {
      const described = await cluster.kubectl('describe', 'pods,replicasets', '--selector=app=web');
      throw new Error(`the rollout does not finish; its pods:\n${described}`, { cause: error });
    }
    await settled();
    await nothingTwice(t.deepEqual.bind(t));
    t.deepEqual(await restarts(), []);
    t.true(await webAnswers());
    // What ran before and still belongs to a pod is the same container, not a new one.
    const now = await identities();
    for (const [name, identity] of Object.entries(dead)) if (now[name]) t.is(now[name], identity, name);
  });
});

story('the Engine is killed: the daemon starts it again, containers live on', async (t) => {
  const containers = await identities();
  const pid = await enginePid();
  await cluster.sh(`kill -KILL ${pid}`);
  await until('another Engine runs', async () => (await enginePid()) !== pid && (await engineAnswers()));
  t.deepEqual(await identities(), containers);
  await settled();
  t.deepEqual(await identities(), containers);
  t.deepEqual(await restarts(), []);
  t.true(await webAnswers());
  // It works, too: a new pod starts.
  await cluster.kubectl('run', 'after-engine', '--image=berth/busybox:1', '--restart=Never', '--', 'echo', 'hello');
  await cluster.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/after-engine', '--timeout=60s');
  t.is(await cluster.kubectl('logs', 'after-engine'), 'hello\n');
  await cluster.kubectl('delete', 'pod', 'after-engine');
});

slow(
  'an Engine that hangs for a minute: not Ready after 30 s, for that reason; then Ready again, and nothing was restarted',
  async (t) => {
    const containers = await identities();
    const pid = await enginePid();
    await cluster.sh(`kill -STOP ${pid}`);
    const beganMs = performance.now();
    const ready = async () => {
      const [node] = await cluster.list<Node>('nodes');
      return node?.status?.conditions?.find(({ type }) => type === 'Ready');
    };
    try {
      const condition = await until(
        'not Ready',
        async () => (await ready())?.status !== 'True' && (await ready()),
        60_000,
      );
      t.true(performance.now() - beganMs > 25_000, 'a short hang is forgiven');
      t.is(condition.reason, 'KubeletNotReady');
      t.regex(condition.message ?? '', /container runtime is down/);
      t.true(await webAnswers());
    } finally {
      await cluster.sh(`kill -CONT ${pid}`);
    }
    await until('Ready', async () => (await ready())?.status === 'True', 60_000);
    await settled();
    t.deepEqual(await identities(), containers);
    t.deepEqual(await restarts(), []);
  },
);

story('daemon and Engine are killed together: up takes over what lives', async (t) => {
  const containers = await identities();
  await cluster.sh(`kill -KILL ${await daemonPid()} ${await enginePid()}`);
  await cluster.berthOk('up');
  await settled();
  t.deepEqual(await identities(), containers);
  t.deepEqual(await restarts(), []);
  t.true(await webAnswers());
  await nothingTwice(t.deepEqual.bind(t));
});

story('a container that died while the daemon was dead is started again by the next one, alone', async (t) => {
  const containers = await cluster.containers();
  const [name, victim] = [...containers].find(([one]) => one.startsWith('k8s_redis_'))!;
  await cluster.sh(`kill -KILL ${await daemonPid()}; kill -KILL ${victim.pid}`);
  await cluster.berthOk('up');
  await until('redis runs again', async () => (await restarts()).join() === 'redis 1');
  await settled();
  const now = await identities();
  for (const [other, { id, pid }] of containers) if (other !== name) t.is(now[other], `${id} ${pid}`, other);
  t.truthy(now[name.replace(/_0$/, '_1')]);
});

story('a static pod whose manifest goes away while the daemon is dead ends with the next one', async (t) => {
  const manifest = pod('static', { command: ['sleep', '3600'] });
  const file = '/var/lib/berth/manifests/static.yaml';
  await cluster.sh(`echo '${JSON.stringify(manifest)}' >${file}`);
  await until('the mirror pod is there', () => cluster.kubectl('get', 'pod', 'static-faults'));
  await settled();
  await cluster.sh(`kill -KILL ${await daemonPid()}; rm ${file}`);
  t.true(Object.keys(await identities()).some((name) => name.includes('_static-faults_')));
  await cluster.berthOk('up');
  await until('the mirror is gone', async () => (await cluster.tryKubectl(['get', 'pod', 'static-faults'])).code !== 0);
  await settled();
  await nothingTwice(t.deepEqual.bind(t));
});

story('the daemon is killed while it restarts all containers of a pod: the next one goes on, once', async (t) => {
  const exitCodes = { operator: 'In', values: [42] };
  const volumeMounts = [{ name: 'work', mountPath: '/shared' }];
  const image = 'berth/busybox:1';
  const fails = 'echo main >>/shared/log; until [ -e /shared/fail ]; do sleep 0.1; done; rm /shared/fail; exit 42';
  await cluster.apply(
    pod(
      'anew',
      {},
      {
        restartPolicy: 'Never',
        initContainers: [{ name: 'prepare', image, ...script('echo prepared >>/shared/log'), volumeMounts }],
        containers: [
          {
            name: 'main',
            image,
            ...script(fails),
            restartPolicy: 'Never',
            restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes }],
            volumeMounts,
          },
          // Takes its two seconds to be ended: that is when the daemon dies.
          { name: 'other', image, ...script("trap '' TERM; while :; do sleep 0.1; done") },
        ],
        volumes: [{ name: 'work', emptyDir: {} }],
      },
    ),
  );
  await settled();
  const anew = () => cluster.get<Pod>('pod', 'anew');
  const { podIP } = (await anew()).status!;
  await cluster.inPod('anew', 'touch /shared/fail');
  await until('all are to be restarted', async () =>
    (await anew()).status?.conditions?.some(
      ({ type, status }) => type === 'AllContainersRestarting' && status === 'True',
    ),
  );
  await cluster.sh(`kill -KILL ${await daemonPid()}`);
  await cluster.berthOk('up');
  await until('all run again', async () =>
    (await anew()).status?.containerStatuses?.every(({ ready, restartCount }) => ready && restartCount === 1),
  );
  const after = await anew();
  t.is(after.status!.podIP, podIP);
  t.is(after.status!.initContainerStatuses![0]!.restartCount, 1);
  t.is((await cluster.inPod('anew', 'cat /shared/log')).output, 'prepared\nmain\nprepared\nmain\n');
  await nothingTwice(t.deepEqual.bind(t));
  await cluster.kubectl('delete', 'pod', 'anew');
});

async function daemonPid(): Promise<number> {
  return Number(await cluster.sh('cat /run/berth/berth.pid'));
}

async function enginePid(): Promise<number> {
  return Number(await cluster.sh('cat /run/berth/docker.pid'));
}

async function isGone(pid: number): Promise<boolean> {
  return (await cluster.try(['test', '-e', `/proc/${pid}`])).code !== 0;
}

async function engineAnswers(): Promise<true> {
  await cluster.engine().version();
  return true;
}

/** Container name → id and pid: a restarted container has another pid, a new one another id. */
async function identities(): Promise<Record<string, string>> {
  const running = [...(await cluster.containers())].filter(([, { state }]) => state === 'running');
  return Object.fromEntries(running.map(([name, { id, pid }]) => [name, `${id} ${pid}`]));
}

/** Every pod is Ready, none is going. */
async function settled(): Promise<void> {
  await until(
    'all pods are Ready',
    async () => {
      const all = await cluster.list<Pod>('pods');
      const ready = (pod: Pod) =>
        pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True');
      return all.length > 0 && all.every((pod) => !pod.metadata.deletionTimestamp && ready(pod));
    },
    60_000,
  );
}

async function webAnswers(): Promise<boolean> {
  return (await cluster.sh(`curl -sf --max-time 5 http://${cluster.address}:30080/`)).includes('Berth works');
}

/** Containers of pods that were restarted, `name count` each. */
async function restarts(): Promise<string[]> {
  return (await cluster.list<Pod>('pods')).flatMap((pod) =>
    (pod.status?.containerStatuses ?? [])
      .filter(({ restartCount }) => restartCount > 0)
      .map(({ name, restartCount }) => `${name} ${restartCount}`),
  );
}

/** One sandbox, one veth, one address and one container of each name for every pod; nothing for pods that are gone. */
async function nothingTwice(deepEqual: (actual: unknown, expected: unknown) => void): Promise<void> {
  const pods = await cluster.list<Pod>('pods');
  const expected = pods
    .flatMap((pod) =>
      ['POD', ...pod.spec.containers.map(({ name }) => name)].map((name) => `${name} ${pod.metadata.uid}`),
    )
    .toSorted();
  const observe = async () => {
    const running = Object.keys(await identities()).map((name) => name.split('_'));
    return {
      containers: running.map(([, name, , , uid]) => `${name} ${uid}`).toSorted(),
      veths: Number(await cluster.sh('ip -o link show master cni0 | wc -l')),
      leases: Number(await cluster.sh("find /var/lib/berth/cni/networks -name '10.*' | wc -l")),
      cgroups: Number(await cluster.sh(POD_CGROUPS)),
    };
  };
  const wanted = { containers: expected, veths: pods.length, leases: pods.length, cgroups: pods.length };
  // What belonged to pods that are gone may take a moment more.
  await until(
    'one of everything',
    async () => JSON.stringify(await observe()) === JSON.stringify(wanted),
    15_000,
  ).catch(() => {});
  deepEqual(await observe(), wanted);
}
