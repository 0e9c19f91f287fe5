/** Pods of a whole agent beside a Docker Engine, on cgroup v2. */
import { readFile } from 'node:fs/promises';
import test from 'ava';
import { createFakePodNetwork } from '../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../support/agent.ts';
import { type PrivateDockerd, startDockerd } from '../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../support/images.ts';

const MIB = 2 ** 20;
/** The guest's processes are some ten times slower than the machine's. */
const PATIENCE_MS = 60_000;
let engine: PrivateDockerd;
let node: TestAgent;

test.before(async () => {
  engine = await startDockerd();
  await loadTestImages(engine.socketPath);
  node = await createTestAgent({
    docker: engine.docker,
    network: createFakePodNetwork(),
    resources: {
      podPidsLimit: 100,
      v2: {
        swap: { behavior: 'LimitedSwap', totalBytes: 1024 * MIB, memoryBytes: 4096 * MIB },
        singleProcessOomKill: false,
        memoryQos: { throttlingFactor: 0.9, reservation: 'TieredReservation', allocatableBytes: 4096 * MIB },
      },
    },
  });
  node.start();
  for (const pod of PODS) await node.apply(pod);
});
test.after.always(async () => {
  try {
    await node?.remove();
  } finally {
    await engine?.stop();
  }
});

const POLITE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];
/** Reads so many MiB of zeros into memory. */
const allocate = (mib: number) => `head -c ${mib}m /dev/zero | tail -n 1 >/dev/null`;

function manifest(name: string, containers: object[], spec: object = {}) {
  const common = { image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command: POLITE };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      dnsPolicy: 'Default',
      hostNetwork: true,
      terminationGracePeriodSeconds: 1,
      ...spec,
      containers: containers.map((one) => ({ ...common, ...one })),
    },
  };
}
/** Few: the guest has one slow processor, and dockerd's work is most of the time. */
const PODS = [
  manifest(
    'limited',
    [
      { name: 'a', resources: { requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '250m', memory: '128Mi' } } },
      {
        name: 'hungry',
        command: ['sh', '-c', `${allocate(64)}; sleep 1000`],
        resources: { limits: { memory: '24Mi' } },
      },
    ],
    { restartPolicy: 'Never' },
  ),
  manifest('whole', [{ name: 'a' }], { resources: { limits: { cpu: '300m', memory: '96Mi' } } }),
];
const statusOf = (pod: string, container: string) =>
  node.pod(pod)?.status?.containerStatuses?.find(({ name }) => name === container);
const running = (pod: string, ...containers: string[]) =>
  eventually(`${pod} runs`, () => containers.every((one) => statusOf(pod, one)?.state?.running), PATIENCE_MS);

/** Files of a container's cgroup, by the path that the kernel says for its first process. */
async function filesOf(pod: string, container: string, names: string[]): Promise<string[]> {
  const id = statusOf(pod, container)!.containerID!.replace('docker://', '');
  const { pid } = await engine.docker.inspectContainer(id);
  const path = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).trim().replace('0::', '');
  const texts = names.map(async (name) => (await readFile(`/sys/fs/cgroup${path}/${name}`, 'utf8')).trim());
  return Promise.all([path, ...texts]);
}

test.serial('containers have their limits: those of the Engine, and those that it has no words for', async (t) => {
  await running('limited', 'a');
  const uid = node.pod('limited')!.metadata.uid;
  const names = ['cpu.max', 'memory.max', 'memory.high', 'memory.low', 'memory.swap.max', 'memory.oom.group'];
  const [path, ...texts] = await filesOf('limited', 'a', names);
  t.is(path, `${node.cgroupRoot}/kubepods/burstable/pod${uid}/${path!.split('/').at(-1)}`);
  t.deepEqual(texts, [
    '25000 100000',
    String(128 * MIB),
    String(Math.floor(((64 + 0.9 * 64) * MIB) / 4096) * 4096),
    String(64 * MIB),
    // The pod is static and so critical, which has no swap whatever the node gives to others.
    '0',
    '1',
  ]);
  const pod = async (name: string) =>
    (await readFile(`/sys/fs/cgroup${node.cgroupRoot}/kubepods/burstable/pod${uid}/${name}`, 'utf8')).trim();
  t.deepEqual(await Promise.all(['pids.max', 'memory.low', 'memory.max', 'memory.swap.max'].map(pod)), [
    '100',
    String((64 + 24) * MIB),
    String((128 + 24) * MIB),
    '0',
  ]);
});

test.serial('a pod limits containers that have no limit of their own (KEP-2837)', async (t) => {
  await running('whole', 'a');
  const [path, ...texts] = await filesOf('whole', 'a', ['cpu.max', 'memory.max', 'memory.min']);
  t.regex(path!, /\/kubepods\/pod[0-9a-f-]+\/[0-9a-f]{64}$/);
  t.deepEqual(texts, ['30000 100000', String(96 * MIB), '0']);
});

test.serial('OOMKilled, though it was not the first process: they end together', async (t) => {
  const end = () => statusOf('limited', 'hungry')?.state?.terminated;
  await eventually('it has ended', () => end() !== undefined, PATIENCE_MS);
  t.like(end(), { reason: 'OOMKilled', exitCode: 137 });
  t.truthy(statusOf('limited', 'a')?.state?.running);
});

test.serial('what was a pod leaves no cgroup', async (t) => {
  const names = PODS.map(({ metadata }) => metadata.name);
  for (const name of names) await node.unapply(name);
  await eventually('all pods are gone', () => !names.some(node.pod), PATIENCE_MS);
  const children = await readFile(`/sys/fs/cgroup${node.cgroupRoot}/cgroup.stat`, 'utf8');
  t.regex(children, /^nr_descendants 3$/m);
});
