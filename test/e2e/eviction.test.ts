/** A node that runs short: of memory for real (within the pods' own limit), of disk on a small file system of its own, of what pods may take. */
import test, { type ExecutionContext } from 'ava';
import type { Event, Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { httpServer, pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const named = (title: string) => (skip ? `${title} (${skip})` : title);
const story = skip ? test.serial.skip : test.serial;
/** Looks at disks come every 10 s: what needs several of them takes its time. */
const isFull = process.env['BERTH_TEST_FULL'] === '1';
const longStory = isFull ? story : test.serial.skip;
const longNamed = (title: string) => (isFull ? named(title) : `${title} (only with --full)`);

/** What all pods together may have; the kernel holds them to it whatever eviction does. */
const PODS_MEMORY_MI = 300;
const TRANSITION_SECONDS = 4;
let cluster: ClusterHost;

/** Writes that many KiB into a file and stays. */
const holding = (kib: number, file: string) =>
  script(`dd if=/dev/zero bs=1K count=${kib} >>${file} 2>/dev/null; trap 'exit 0' TERM; while :; do sleep 0.2; done`);
const SCRATCH = { volumes: [{ name: 'd', emptyDir: {} }] };
const mounting = { volumeMounts: [{ name: 'd', mountPath: '/d' }] };
const TAINT = 'node.kubernetes.io/disk-pressure';

if (!skip) {
  test.before(async () => {
    cluster = await createClusterHost('eviction');
    const totalKib = Number(await cluster.sh("awk '/^MemTotal/ { print $2 }' /proc/meminfo"));
    const config = {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      systemReserved: { memory: `${totalKib - PODS_MEMORY_MI * 1024}Ki` },
      evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '20%', 'imagefs.available': '20%' },
      evictionPressureTransitionPeriod: `${TRANSITION_SECONDS}s`,
      imageMinimumGCAge: '1s',
      imageGCHighThresholdPercent: 100,
      imageGCLowThresholdPercent: 99,
      volumeStatsAggPeriod: '1s',
    };
    await cluster.sh(`
      mkdir -p /etc/berth /var/lib/berth
      truncate -s 256M /root/small.img
      mkfs.ext4 -q -m 0 /root/small.img
      mount -o loop /root/small.img /var/lib/berth
      echo '${JSON.stringify(config)}' >/etc/berth/kubelet.yaml`);
    await cluster.berthOk('up', '--kubelet-config', '/etc/berth/kubelet.yaml');
    await cluster.loadImages();
    // They go at one of the looks that come while memory is told of.
    const limit = { resources: { limits: { 'ephemeral-storage': '8Mi' } } };
    const limited = { volumes: [{ name: 'd', emptyDir: { sizeLimit: '8Mi' } }] };
    await cluster.apply(
      pod('volume', { ...holding(12 * 1024, '/d/f'), ...mounting }, limited),
      pod('layer', { ...holding(12 * 1024, '/f'), ...limit }),
      pod('hosts', { ...holding(12 * 1024, '/etc/hosts'), ...limit }),
      pod('modest', { ...holding(4 * 1024, '/f'), ...limit }),
    );
  });
  test.after.always(() => cluster?.close());
}

const get = (name: string, namespace = 'default') => cluster.get<Pod>('pod', '-n', namespace, name);
const node = async () => (await cluster.list<Node>('nodes'))[0]!;
const condition = (object: Pod | Node, type: string) => object.status?.conditions?.find((one) => one.type === type);
const whenReady = (name: string, namespace?: string) =>
  until(`${name} is ready`, async () => condition(await get(name, namespace), 'Ready')?.status === 'True', 60_000);
const whenFailed = async (name: string) => {
  let last: Pod | undefined;
  const ask = async () => {
    last = await get(name);
    return last.status?.phase === 'Failed' && last;
  };
  try {
    return await until(`${name} has failed`, ask, 120_000);
  } catch (error) {
    const df = await cluster.sh('df -k /var/lib/berth');
    throw new Error(`${name}: ${JSON.stringify(last?.status)}\n${df}`, { cause: error });
  }
};
const eventsOf = (name: string, reason: string) =>
  cluster.list<Event>('events', '--field-selector', `involvedObject.name=${name},reason=${reason}`);
const forever = script("trap 'exit 0' TERM; while :; do sleep 0.2; done");

async function whenCalm(type: string, taint: string): Promise<void> {
  await until(
    `${type} is over`,
    async () => {
      const found = await node();
      return condition(found, type)?.status === 'False' && !found.spec.taints?.some(({ key }) => key === taint);
    },
    60_000,
  );
}

function isEvicted(t: ExecutionContext, found: Pod, message: RegExp) {
  t.like(found.status, { phase: 'Failed', reason: 'Evicted' });
  t.regex(found.status?.message ?? '', message);
  t.truthy(found.status?.containerStatuses?.[0]?.state?.terminated, 'how its container ended stays to be seen');
}

story(
  named(
    'memory: the greedy pod goes; pods within their requests and critical ones stay; condition and taint come and go',
  ),
  async (t) => {
    const request = { resources: { requests: { cpu: '50m', memory: '32Mi' }, limits: { cpu: '50m', memory: '32Mi' } } };
    /** Holds 60 MiB without having asked for any, and is too important to go. */
    const greedyButVital = script(
      "trap 'exit 0' TERM; dd if=/dev/zero bs=60M count=1 of=/dev/shm/x 2>/dev/null; while :; do sleep 0.2; done",
    );
    await cluster.apply(
      pod('well-behaved', { ...httpServer(8080), ...request }),
      pod('vital', greedyButVital, { priorityClassName: 'system-node-critical' }, { namespace: 'kube-system' }),
    );
    await whenReady('well-behaved');
    await whenReady('vital', 'kube-system');
    // 50 MiB a second, and deaf to SIGTERM.
    const greedy = script(
      '(while :; do dd if=/dev/zero bs=1M count=5 2>/dev/null; usleep 100000; done) | dd bs=600M iflag=fullblock of=/dev/null',
    );
    await cluster.apply(pod('greedy', greedy));
    const found = await whenFailed('greedy');
    isEvicted(
      t,
      found,
      /^The node was low on resource: memory\. Threshold quantity: 100Mi, available: \d+\w*\. Container main was using \d+\w*, request is 0, has larger consumption of memory\. $/,
    );
    t.like(condition(found, 'DisruptionTarget'), { status: 'True', reason: 'TerminationByKubelet' });
    const [event] = await until('the event', async () => {
      const all = await eventsOf('greedy', 'Evicted');
      return all.length > 0 && all;
    });
    t.is(event!.message, found.status!.message);
    t.like(event!.metadata.annotations, { offending_containers: 'main', starved_resource: 'memory' });

    const pressed = await node();
    t.like(condition(pressed, 'MemoryPressure'), { status: 'True', reason: 'KubeletHasInsufficientMemory' });
    const taint = 'node.kubernetes.io/memory-pressure';
    await until('the taint', async () => (await node()).spec.taints?.some(({ key }) => key === taint));
    await cluster.apply(pod('asks-for-nothing', forever, { nodeName: pressed.metadata.name }));
    const refused = await whenFailed('asks-for-nothing');
    t.like(refused.status, {
      reason: 'Evicted',
      message: 'Pod was rejected: The node had condition: [MemoryPressure]. ',
    });
    await whenCalm('MemoryPressure', taint);

    for (const [name, namespace] of [
      ['well-behaved', 'default'],
      ['vital', 'kube-system'],
    ] as const)
      t.like((await get(name, namespace)).status, { phase: 'Running' }, name);
    t.is((await get('well-behaved')).status?.containerStatuses?.[0]?.restartCount, 0);
    t.like((await eventsOf(pressed.metadata.name, 'EvictionThresholdMet'))[0], {
      type: 'Warning',
      message: 'Attempting to reclaim memory',
    });
    await cluster.kubectl('delete', 'pod', 'vital', '-n', 'kube-system', '--now');
  },
);

/** KiB that can be written until that share of the small file system is left. */
async function untilLeft(share: number): Promise<number> {
  const df = await cluster.sh('df --output=size,avail -k /var/lib/berth | tail -1');
  const [sizeKib = 0, freeKib = 0] = df.trim().split(/\s+/).map(Number);
  return Math.floor(freeKib - sizeKib * share);
}

longStory(longNamed('R12: an unused image makes room before any pod has to'), async (t) => {
  await cluster.apply(pod('with-data', { ...holding(1024, '/d/f'), ...mounting }, SCRATCH));
  await whenReady('with-data');
  // An image that is large, was in use, and is no more.
  const docker = ['docker', '-H', 'unix:///run/berth/docker.sock'];
  await cluster.sh(`
    alias docker="${docker.join(' ')}"
    head -c 40M /dev/urandom >/root/data
    docker create --name large berth/busybox:1 >/dev/null
    docker cp /root/data large:/data
    docker commit large berth/unused:1 >/dev/null
    docker rm large >/dev/null`);
  await cluster.apply(pod('passing', { image: 'berth/unused:1', ...script('true') }, { restartPolicy: 'Never' }));
  await until('it has passed', async () => (await get('passing')).status?.phase === 'Succeeded');
  await cluster.kubectl('delete', 'pod', 'passing', '--now');
  // The rest is somebody else's, and comes at once.
  await cluster.sh(`fallocate -l ${await untilLeft(0.12)}K /var/lib/berth/ballast`);
  const found = await until(
    'the image is gone',
    async () => {
      const { stdout } = await cluster.try([...docker, 'images', '-q', 'berth/unused']);
      return stdout.trim() === '' && (await node());
    },
    60_000,
  );
  t.is(condition(found, 'DiskPressure')?.status, 'True');
  await whenCalm('DiskPressure', TAINT);
  t.is((await get('with-data')).status?.phase, 'Running');
  t.is((await get('well-behaved')).status?.containerStatuses?.[0]?.restartCount, 0);
  t.deepEqual(await eventsOf('with-data', 'Evicted'), []);
});

longStory(
  longNamed('disk: the pod with the most on it goes when nothing else helps; no pod comes in meanwhile'),
  async (t) => {
    // Whatever is given back meanwhile.
    const leastKib = Math.floor(Number(await cluster.sh('df --output=size -k /var/lib/berth | tail -1')) * 0.12);
    const fill = script(`
    while :; do
      [ "$(df -k /d | awk 'END { print $4 }')" -lt ${leastKib} ] || dd if=/dev/zero bs=1M count=2 >>/d/f 2>/dev/null
      sleep 0.05
    done`);
    await cluster.apply(pod('hog', { ...fill, ...mounting }, SCRATCH));
    const found = await whenFailed('hog');
    isEvicted(
      t,
      found,
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: \d+\w*, available: \d+\w*\. /,
    );
    const pressed = await node();
    t.like(condition(pressed, 'DiskPressure'), { status: 'True', reason: 'KubeletHasDiskPressure' });
    const burstable = { ...forever, resources: { requests: { memory: '1Mi' } } };
    await cluster.apply(pod('too-early', burstable, { nodeName: pressed.metadata.name }));
    t.like((await whenFailed('too-early')).status, {
      reason: 'Evicted',
      message: 'Pod was rejected: The node had condition: [DiskPressure]. ',
    });
    await whenCalm('DiskPressure', TAINT);
    t.is((await get('with-data')).status?.phase, 'Running');
  },
);

story(
  named('limits on local disk: a volume, a container, and CVE-2020-8557: what is written to /etc/hosts'),
  async (t) => {
    isEvicted(t, await whenFailed('volume'), /^Usage of EmptyDir volume "d" exceeds the limit "8Mi"\. $/);
    isEvicted(
      t,
      await whenFailed('hosts'),
      /^Pod ephemeral local storage usage exceeds the total limit of containers 8Mi\. $/,
    );
    isEvicted(
      t,
      await whenFailed('layer'),
      /^(Pod ephemeral local storage usage exceeds the total limit of containers|Container main exceeded its local ephemeral storage limit) /,
    );
    t.is((await get('modest')).status?.phase, 'Running');
    t.is(condition(await node(), 'DiskPressure')?.status, 'False');
  },
);

story(named('kubelet_evictions counts them by signal'), async (t) => {
  const files =
    '--cert /var/lib/berth/pki/apiserver-kubelet-client.crt --key /var/lib/berth/pki/apiserver-kubelet-client.key';
  const text = await cluster.sh(`curl -sk ${files} https://127.0.0.1:10250/metrics`);
  const count = (signal: string) =>
    Number(new RegExp(`^kubelet_evictions\\{eviction_signal="${signal}"\\} (\\d+)$`, 'm').exec(text)?.[1]);
  t.true(count('allocatableMemory.available') >= 1);
  if (isFull) t.true(count('nodefs.available') >= 1);
  t.is(count('emptydirfs.limit'), 1);
  t.true(count('ephemeralpodfs.limit') >= 1);
  t.regex(text, /^kubelet_eviction_stats_age_seconds_count\{eviction_signal="allocatableMemory\.available"\} \d+$/m);
});
