import test from 'ava';
import { computeNodeConditions, conditionEvents } from '../../../../agent/node/conditions.ts';
import { goArchitecture, parseMeminfo, parseOsRelease, readHostFacts } from '../../../../agent/node/host-facts.ts';
import { computeNodeImages } from '../../../../agent/node/images.ts';
import {
  buildNode,
  diffNodeStatus,
  diffRegistration,
  type NodeIdentity,
  refusedFields,
} from '../../../../agent/node/node-object.ts';
import type { Node, NodeStatus } from '../../../../src/kube/types.ts';

const healthy = { problems: [], memoryPressure: false, diskPressure: false, pidPressure: false };
const show = (conditions: ReturnType<typeof computeNodeConditions>) =>
  conditions.map(({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`);

test('conditions of a healthy node', (t) => {
  t.deepEqual(show(computeNodeConditions(healthy, undefined, 'now')), [
    'MemoryPressure=False KubeletHasSufficientMemory: kubelet has sufficient memory available',
    'DiskPressure=False KubeletHasNoDiskPressure: kubelet has no disk pressure',
    'PIDPressure=False KubeletHasSufficientPID: kubelet has sufficient PID available',
    'Ready=True KubeletReady: kubelet is posting ready status',
  ]);
});

test('conditions of a sick node; times of changes', (t) => {
  const first = computeNodeConditions(healthy, undefined, 't1');
  const sick = { problems: ['a', 'b'], memoryPressure: true, diskPressure: true, pidPressure: true };
  const second = computeNodeConditions(sick, first, 't2');
  t.deepEqual(show(second), [
    'MemoryPressure=True KubeletHasInsufficientMemory: kubelet has insufficient memory available',
    'DiskPressure=True KubeletHasDiskPressure: kubelet has disk pressure',
    'PIDPressure=True KubeletHasInsufficientPID: kubelet has insufficient PID available',
    'Ready=False KubeletNotReady: [a, b]',
  ]);
  t.is(computeNodeConditions({ ...healthy, problems: ['a'] }, second, 't3').at(-1)?.message, 'a');
  const third = computeNodeConditions(sick, second, 't3');
  t.deepEqual(
    third.map(({ lastHeartbeatTime, lastTransitionTime }) => [lastHeartbeatTime, lastTransitionTime]),
    Array(4).fill(['t3', 't2']),
  );
});

test('events follow changes', (t) => {
  const ready = computeNodeConditions(healthy, undefined, 't');
  const notReady = computeNodeConditions({ ...healthy, problems: ['x'] }, undefined, 't');
  t.deepEqual(conditionEvents(undefined, notReady), [
    'NodeHasSufficientMemory',
    'NodeHasNoDiskPressure',
    'NodeHasSufficientPID',
  ]);
  t.deepEqual(conditionEvents(notReady, ready), ['NodeReady']);
  t.deepEqual(conditionEvents(ready, notReady), ['NodeNotReady']);
  t.deepEqual(conditionEvents(ready, ready), []);
});

test('host facts', async (t) => {
  t.deepEqual(parseMeminfo('MemTotal:        1000 kB\nHugePages_Total:       3\n'), {
    MemTotal: 1_024_000,
    HugePages_Total: 3,
  });
  t.is(parseOsRelease('NAME="x"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'), 'Debian GNU/Linux 12 (bookworm)');
  t.is(parseOsRelease('PRETTY_NAME=Alpine\n'), 'Alpine');
  t.is(parseOsRelease(''), 'Linux');
  t.is(goArchitecture('x64'), 'amd64');
  t.is(goArchitecture('arm64'), 'arm64');
  const facts = await readHostFacts('/');
  t.true(facts.capacity.cpus > 0 && facts.capacity.memoryBytes > 0 && facts.capacity.nodeFsBytes > 0);
  t.truthy(facts.identity.bootID);
});

test('images: largest first, five names, none without a name', (t) => {
  const image = (sizeBytes: number, ...repoTags: string[]) => ({ sizeBytes, repoTags, repoDigests: [] as string[] });
  t.deepEqual(
    computeNodeImages(
      [image(1, 'a:1'), image(3, '<none>:<none>'), image(2, 'b:1', 'b:2', 'b:3', 'b:4', 'b:5', 'b:6')],
      50,
    ),
    [
      { names: ['b:1', 'b:2', 'b:3', 'b:4', 'b:5'], sizeBytes: 2 },
      { names: ['a:1'], sizeBytes: 1 },
    ],
  );
  t.is(computeNodeImages([image(1, 'a'), image(2, 'b')], 1).length, 1);
  t.deepEqual(computeNodeImages([{ sizeBytes: 1, repoTags: ['a:1'], repoDigests: ['a@sha256:1'] }], -1)[0]?.names, [
    'a@sha256:1',
    'a:1',
  ]);
});

const identity: NodeIdentity = {
  name: 'n1',
  hostname: 'n1',
  ips: ['10.0.0.4'],
  architecture: 'amd64',
  labels: { zone: 'a' },
  registerWithTaints: [{ key: 'k', effect: 'NoSchedule' }],
};

test('the object that is registered', (t) => {
  t.deepEqual(buildNode(identity, {}), {
    metadata: {
      name: 'n1',
      labels: {
        'beta.kubernetes.io/arch': 'amd64',
        'beta.kubernetes.io/os': 'linux',
        'kubernetes.io/arch': 'amd64',
        'kubernetes.io/hostname': 'n1',
        'kubernetes.io/os': 'linux',
        zone: 'a',
      },
      annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
    },
    spec: { taints: [{ key: 'k', effect: 'NoSchedule' }] },
    status: {},
  });
  const live = buildNode(identity, {}) as Node;
  t.is(diffRegistration(identity, live), undefined);
  t.deepEqual(diffRegistration({ ...identity, labels: { zone: 'b' } }, live), { metadata: { labels: { zone: 'b' } } });
  t.truthy(diffRegistration(identity, { metadata: {} } as Node));
});

test("a node of a cloud waits for the cloud's controller", (t) => {
  const cloudy = { ...identity, hasExternalCloud: true };
  const made = buildNode(cloudy, {});
  t.deepEqual(made.spec.taints?.at(-1), {
    key: 'node.cloudprovider.kubernetes.io/uninitialized',
    value: 'true',
    effect: 'NoSchedule',
  });
  t.is(made.metadata.annotations?.['alpha.kubernetes.io/provided-node-ip'], cloudy.ips.join(','));
  t.is(diffRegistration(cloudy, made as Node), undefined);
  t.truthy(diffRegistration({ ...cloudy, ips: ['10.9.9.9'] }, made as Node));
});

test('status patch: nothing without change; heartbeats alone only when due', (t) => {
  const conditions = computeNodeConditions(healthy, undefined, 't1');
  const live: NodeStatus = {
    addresses: [{ type: 'InternalIP', address: '10.0.0.4' }],
    capacity: { cpu: '2', 'x/gpu': '1', 'hugepages-2Mi': '2Mi' },
    conditions,
  };
  const wanted: NodeStatus = {
    ...live,
    capacity: { cpu: '2', 'hugepages-2Mi': '2Mi' },
    images: [],
    conditions: computeNodeConditions(healthy, conditions, 't2'),
  };
  t.is(diffNodeStatus(live, wanted, false), undefined);
  t.deepEqual(diffNodeStatus(live, wanted, true), { status: { conditions: wanted.conditions } });
  t.deepEqual(
    diffNodeStatus(
      live,
      { ...wanted, capacity: { cpu: '4' }, addresses: [{ type: 'InternalIP', address: '10.0.0.5' }] },
      false,
    ),
    {
      status: {
        capacity: { cpu: '4', 'hugepages-2Mi': null },
        addresses: [{ type: 'InternalIP', address: '10.0.0.5' }, { $patch: 'replace' }],
        conditions: wanted.conditions,
      },
    },
  );
});

test('status patch: what the server does not keep is not sent again', (t) => {
  const conditions = computeNodeConditions(healthy, undefined, 't1');
  const wanted: NodeStatus = { conditions, nodeInfo: { bootID: 'b', swap: { capacity: 1 } } as never };
  const kept: NodeStatus = { conditions, nodeInfo: { bootID: 'b' } as never };
  const refused = refusedFields(kept, wanted);
  t.is(diffNodeStatus(kept, wanted, false, refused), undefined);
  const changed = { ...wanted, nodeInfo: { bootID: 'c', swap: { capacity: 1 } } as never };
  t.truthy(diffNodeStatus(kept, changed, false, refused));
});
