/** Pods that are resized while they run, by kubectl, read back from their cgroups; and pods that the node does not take. */
import test, { type ExecutionContext } from 'ava';
import { cpuMillis } from '../../src/kube/quantity.ts';
import type { Event, Node, Pod, ResourceRequirements } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { BUSYBOX, pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const canRun = !whyNoHost() && !('skip' in kubectl);

let cluster: ClusterHost;

test.before(async () => {
  if (!canRun) return;
  cluster = await createClusterHost('resize');
  await cluster.berthOk('up');
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

function story(title: string, tell: (t: ExecutionContext) => Promise<unknown>, serial = false): void {
  if (!canRun) test.skip(title, (t) => t.pass());
  else (serial ? test.serial : test)(title, async (t) => void (await tell(t)));
}

const MI = 2 ** 20;
const both = (cpu: string, memory: string): ResourceRequirements => ({
  requests: { cpu, memory },
  limits: { cpu, memory },
});
const get = (name: string) => cluster.get<Pod>('pod', name);
const condition = ({ status }: Pod, type: string) => status?.conditions?.find((one) => one.type === type);
const running = (name: string) =>
  until(`${name} runs`, async () => {
    const found = await get(name);
    return found.status?.phase === 'Running' && found;
  });
const sleeper = (name: string, resources: ResourceRequirements, more: object = {}) =>
  pod(name, { ...script('exec sleep 3600'), resources, ...more });
const patch = (name: string, resources: ResourceRequirements, container = 'main') =>
  cluster.tryKubectl([
    'patch',
    'pod',
    name,
    '--subresource',
    'resize',
    '--patch',
    JSON.stringify({ spec: { containers: [{ name: container, resources }] } }),
  ]);
const resized = (name: string, cpu: string, memory: string) =>
  until(`${name} is resized`, async () => {
    const found = await get(name);
    const actual = found.status?.containerStatuses?.[0]?.resources;
    const isDone = !condition(found, 'PodResizeInProgress') && !condition(found, 'PodResizePending');
    return isDone && actual?.limits?.['cpu'] === cpu && actual.limits['memory'] === memory && found;
  });
const eventsAbout = async (name: string): Promise<Event[]> =>
  JSON.parse(await cluster.kubectl('get', 'events', '-o', 'json', '--field-selector', `involvedObject.name=${name}`))
    .items;

/** `[quota in µs, memory in bytes]` of the container and of its pod, as the kernel has them. */
async function limits(name: string): Promise<{ container: number[]; pod: number[] }> {
  const { status } = await get(name);
  const id = status!.containerStatuses![0]!.containerID!.replace('docker://', '');
  const { pid } = await cluster.engine().inspectContainer(id);
  const text = await cluster.sh(`
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
      at=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/${pid}/cgroup)
      for one in $at $at/..; do cut -d' ' -f1 $one/cpu.max; cat $one/memory.max; done
    else
      cpu=/sys/fs/cgroup/cpu$(sed -n 's/^[0-9]*:[a-z,]*cpu[,:][^/]*//p' /proc/${pid}/cgroup)
      memory=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/${pid}/cgroup)
      for one in . ..; do cat $cpu/$one/cpu.cfs_quota_us $memory/$one/memory.limit_in_bytes; done
    fi`);
  const [quota, bytes, podQuota, podBytes] = text.trim().split('\n').map(Number);
  return { container: [quota!, bytes!], pod: [podQuota!, podBytes!] };
}

/** `shares 102`, or on cgroup v2 `weight 4`: the container's share of the CPU. */
async function cpuShareOf(name: string): Promise<string> {
  const { output } = await cluster.inPod(
    name,
    'cd /sys/fs/cgroup; if [ -f cpu.weight ]; then echo weight $(cat cpu.weight); else echo shares $(cat cpu/cpu.shares); fi',
  );
  return output.trim();
}

async function memoryInUse(name: string): Promise<number> {
  const { output } = await cluster.inPod(
    name,
    'cat /sys/fs/cgroup/memory/memory.usage_in_bytes /sys/fs/cgroup/memory.current 2>/dev/null',
  );
  return Number(output.trim().split('\n')[0]);
}

story('kubectl resizes a running pod, up and down, without a restart; the kernel has it', async (t) => {
  await cluster.apply(sleeper('grown', both('100m', '64Mi')));
  const before = await running('grown');
  t.deepEqual(await limits('grown'), { container: [10_000, 64 * MI], pod: [10_000, 64 * MI] });
  t.is((await patch('grown', both('200m', '128Mi'))).code, 0);
  const grown = await resized('grown', '200m', '128Mi');
  t.deepEqual(await limits('grown'), { container: [20_000, 128 * MI], pod: [20_000, 128 * MI] });
  t.is((await patch('grown', both('150m', '96Mi'))).code, 0);
  const shrunk = await resized('grown', '150m', '96Mi');
  t.deepEqual(await limits('grown'), { container: [15_000, 96 * MI], pod: [15_000, 96 * MI] });
  const first = before.status!.containerStatuses![0]!;
  const last = shrunk.status!.containerStatuses![0]!;
  t.is(last.containerID, first.containerID);
  t.is(last.restartCount, 0);
  t.deepEqual(last.allocatedResources, { cpu: '150m', memory: '96Mi' });
  t.is(before.metadata.generation, 1);
  t.is(grown.metadata.generation, 2);
  t.is(shrunk.metadata.generation, 3);
  t.is(shrunk.status!.observedGeneration, 3);
  const reasons = (await eventsAbout('grown')).map(({ reason }) => reason);
  t.true(reasons.includes('ResizeStarted') && reasons.includes('ResizeCompleted'));
});

story('a resizePolicy restarts the container; a sidecar and a Burstable pod are resized too', async (t) => {
  const policy = { resizePolicy: [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }] };
  const side = {
    name: 'side',
    image: BUSYBOX,
    ...script('exec sleep 3600'),
    restartPolicy: 'Always',
    resources: { requests: { cpu: '10m' } },
  };
  await cluster.apply(
    pod(
      'policy',
      { ...script('exec sleep 3600'), resources: both('50m', '32Mi'), ...policy },
      { initContainers: [side] },
    ),
  );
  await running('policy');
  t.is((await patch('policy', both('60m', '32Mi'))).code, 0);
  t.is((await resized('policy', '60m', '32Mi')).status!.containerStatuses![0]!.restartCount, 0);
  t.is((await patch('policy', both('60m', '48Mi'))).code, 0);
  const restarted = await until('restarted', async () => {
    const found = await resized('policy', '60m', '48Mi');
    return found.status!.containerStatuses![0]!.restartCount === 1 && found;
  });
  t.is((await limits('policy')).container[1], 48 * MI);
  const sidePatch = { spec: { initContainers: [{ name: 'side', resources: { requests: { cpu: '20m' } } }] } };
  await cluster.kubectl('patch', 'pod', 'policy', '--subresource', 'resize', '--patch', JSON.stringify(sidePatch));
  await until('the sidecar has it', async () => {
    const [status] = (await get('policy')).status!.initContainerStatuses!;
    return status!.resources!.requests!['cpu'] === '20m';
  });
  t.is((await get('policy')).status!.initContainerStatuses![0]!.restartCount, 0);
  t.is(restarted.status!.phase, 'Running');
});

story('memory below what is in use stays as it is, with the reason; asking for enough again ends that', async (t) => {
  // Anonymous memory that nobody can take away.
  await cluster.apply(
    pod('full', {
      ...script('x=$(head -c 20000000 /dev/zero | tr "\\0" x); sleep 3600 & wait'),
      resources: both('200m', '96Mi'),
    }),
  );
  await running('full');
  await until('it uses its memory', async () => {
    const used = await memoryInUse('full');
    return used > 16 * MI && used;
  });
  t.is((await patch('full', both('200m', '8Mi'))).code, 0);
  const refused = await until('refused', async () => {
    const found = await get('full');
    return condition(found, 'PodResizeInProgress')?.reason === 'Error' && found;
  });
  t.regex(condition(refused, 'PodResizeInProgress')!.message!, /memory limit \(8388608\) below current usage \(\d+\)/);
  t.is(refused.status!.containerStatuses![0]!.resources!.limits!['memory'], '96Mi');
  t.deepEqual((await limits('full')).container[1], 96 * MI);
  t.is((await patch('full', both('200m', '96Mi'))).code, 0);
  t.is((await resized('full', '200m', '96Mi')).status!.containerStatuses![0]!.restartCount, 0);
});

story('resources of the pod as a whole are resized: its cgroup has them, its containers stay', async (t) => {
  const level = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory } });
  await cluster.apply(pod('whole', script('exec sleep 3600'), { resources: level('100m', '64Mi') }));
  await running('whole');
  const patchWhole = JSON.stringify({ spec: { resources: level('200m', '96Mi') } });
  await cluster.kubectl('patch', 'pod', 'whole', '--subresource', 'resize', '--patch', patchWhole);
  const resizedWhole = await until('resized', async () => {
    const found = await get('whole');
    return !condition(found, 'PodResizeInProgress') && found.status?.resources?.limits?.['cpu'] === '200m' && found;
  });
  t.deepEqual((await limits('whole')).pod, [20_000, 96 * MI]);
  t.deepEqual(resizedWhole.status!.allocatedResources, { cpu: '200m', memory: '96Mi' });
  t.is(resizedWhole.status!.containerStatuses![0]!.restartCount, 0);
});

story('what kubectl asks for in vain: another QoS class, a limit taken away, more than the node has', async (t) => {
  await cluster.apply(sleeper('asking', both('50m', '32Mi')));
  await running('asking');
  const classes = await patch('asking', { requests: { cpu: '20m', memory: '32Mi' } });
  t.regex(classes.stderr, /Pod QOS Class may not change as a result of resizing/);
  const removal = await cluster.tryKubectl([
    ...['patch', 'pod', 'asking', '--subresource', 'resize', '--patch'],
    '{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":null}}}]}}',
  ]);
  t.regex(removal.stderr, /resource limits cannot be removed/);
  t.is((await patch('asking', both('900', '32Mi'))).code, 0);
  const infeasible = await until('infeasible', async () => {
    const found = await get('asking');
    return condition(found, 'PodResizePending')?.reason === 'Infeasible' && found;
  });
  t.regex(
    condition(infeasible, 'PodResizePending')!.message!,
    /^Node didn't have enough capacity: cpu, requested: 900000/,
  );
  t.is(condition(infeasible, 'PodResizePending')!.observedGeneration, infeasible.metadata.generation);
  t.deepEqual((await limits('asking')).container[0], 5_000);
  t.is((await patch('asking', both('50m', '32Mi'))).code, 0);
  await resized('asking', '50m', '32Mi');
});

story(
  'what the node itself refuses: another place, a port that is taken; labels count from the moment they are set',
  async (t) => {
    const [node] = await cluster.list<Node>('nodes');
    const nodeName = node!.metadata.name;
    const port = { ports: [{ containerPort: 80, hostPort: 28_080 }] };
    const direct = (name: string, container: object, spec: object = {}) =>
      pod(name, { ...script('exec sleep 3600'), ...container }, { nodeName, ...spec });
    await cluster.apply(direct('port-one', port));
    await running('port-one');
    await cluster.apply(direct('port-two', port), direct('elsewhere', {}, { nodeSelector: { place: 'elsewhere' } }));
    for (const [name, reason, message] of [
      [
        'port-two',
        'NodePorts',
        "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
      ],
      ['elsewhere', 'NodeAffinity', "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"],
    ] as const) {
      const refused = await until(`${name} is refused`, async () => {
        const found = await get(name);
        return found.status?.phase === 'Failed' && found;
      });
      t.like(refused.status!, { reason, message: `Pod was rejected: ${message}` });
    }
    await cluster.kubectl('label', 'node', nodeName, 'place=here');
    await cluster.apply(direct('here', {}, { nodeSelector: { place: 'here' } }));
    t.is((await running('here')).status!.phase, 'Running');
  },
);

/** Alone on the node: it is filled. */
story(
  'a resize waits for room, over a restart of the agent; pods that bypass the scheduler find the door shut, critical ones make room',
  async (t) => {
    const [node] = await cluster.list<Node>('nodes');
    const nodeName = node!.metadata.name;
    const allocatableMillis = cpuMillis(node!.status!.allocatable!['cpu']);
    const others = await cluster.list<Pod>('pods', '--all-namespaces');
    const taken = others.reduce(
      (sum, { spec }) =>
        sum + spec.containers.reduce((own, { resources }) => own + cpuMillis(resources?.requests?.['cpu'] ?? '0'), 0),
      0,
    );
    const free = allocatableMillis - taken - 200;
    await cluster.apply(sleeper('waits', { requests: { cpu: '100m' } }));
    await cluster.apply(sleeper('fills', { requests: { cpu: `${free}m` } }));
    await Promise.all(['waits', 'fills'].map(running));
    t.is((await patch('waits', { requests: { cpu: '300m' } })).code, 0);
    const deferred = await until('deferred', async () => {
      const found = await get('waits');
      return condition(found, 'PodResizePending')?.reason === 'Deferred' && found;
    });
    t.regex(
      condition(deferred, 'PodResizePending')!.message!,
      /^Node didn't have enough resource: cpu, requested: 300/,
    );
    await cluster.sh(`kill -KILL $(cat /run/berth/berth.pid)`);
    await cluster.berthOk('up');
    // The new life has looked at it: it tells again why, and gives nothing away meanwhile.
    await until('looked at again', async () => {
      const told = (await eventsAbout('waits')).filter(({ reason }) => reason === 'ResizeDeferred');
      return told.length > 1 || (told[0]?.count ?? 1) > 1;
    });
    const still = await get('waits');
    t.is(condition(still, 'PodResizePending')?.reason, 'Deferred');
    t.is(still.status!.containerStatuses![0]!.resources!.requests!['cpu'], '100m');
    // Of 100m.
    t.true(['shares 102', 'weight 4'].includes(await cpuShareOf('waits')));

    // Not through the scheduler: the node itself has the last word.
    await cluster.apply(sleeper('too-many', { requests: { cpu: '400m' } }, {}), {
      ...(pod(
        'direct',
        { ...script('exec sleep 3600'), resources: { requests: { cpu: '400m' } } },
        { nodeName },
      ) as object),
    });
    const rejected = await until('rejected', async () => {
      const found = await get('direct');
      return found.status?.phase === 'Failed' && found;
    });
    t.is(rejected.status!.reason, 'OutOfcpu');
    t.regex(
      rejected.status!.message!,
      /^Pod was rejected: Node didn't have enough resource: cpu, requested: 400, used: /,
    );
    await cluster.kubectl('delete', 'pod', 'too-many', 'direct', '--wait=false');

    const critical = pod('critical', { ...script('exec sleep 3600'), resources: { requests: { cpu: '400m' } } });
    await cluster.sh(`echo '${JSON.stringify(critical)}' >/var/lib/berth/manifests/critical.yaml`);
    await running(`critical-${nodeName}`);
    const gone = await Promise.all(['waits', 'fills'].map(get));
    const preempted = gone.filter(({ status }) => status?.reason === 'Preempting');
    t.is(preempted.length, 1);
    t.like(preempted[0]!.status!, { phase: 'Failed', message: 'Preempted in order to admit critical pod' });
    t.is(condition(preempted[0]!, 'DisruptionTarget')?.reason, 'TerminationByKubelet');
    await cluster.sh('rm /var/lib/berth/manifests/critical.yaml');
    if (preempted[0]!.metadata.name !== 'waits')
      await until('the waiting one has got it', async () => {
        const found = await get('waits');
        return (
          !condition(found, 'PodResizePending') &&
          found.status?.containerStatuses?.[0]?.resources?.requests?.['cpu'] === '300m'
        );
      });
  },
  true,
);
