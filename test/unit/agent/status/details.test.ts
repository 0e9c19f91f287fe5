import test from 'ava';
import type { PodStatusInput } from '../../../../agent/pods/ports.ts';
import { computePodStatus } from '../../../../agent/status/compute.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';
import { input, observed, run } from './cases.ts';

const noProbes = { startup: () => undefined, readiness: () => undefined };

const addressCases: [string, Pod, Partial<PodStatusInput>, string[], string[]][] = [
  [
    'dual stack, the primary family first',
    podOf(),
    { runtime: observed([run('app')], { ips: ['fd00::5', '10.244.0.5', '10.244.0.6'] }) },
    ['192.168.0.10'],
    ['10.244.0.5', 'fd00::5'],
  ],
  [
    'IPv6 node',
    podOf(),
    { runtime: observed([run('app')], { ips: ['10.244.0.5', 'fd00::5'] }) },
    ['fd01::1'],
    ['fd00::5', '10.244.0.5'],
  ],
  [
    'ended: the address stays',
    podOf({ restartPolicy: 'Never' }),
    { runtime: observed([run('app', { exit: 0 })], null), previous: { podIPs: [{ ip: '10.1.1.1' }] } },
    ['192.168.0.10'],
    ['10.1.1.1'],
  ],
  [
    'new sandbox: the old address goes',
    podOf(),
    { runtime: observed([], { ips: [] }), previous: { podIPs: [{ ip: '10.1.1.1' }] } },
    ['192.168.0.10'],
    [],
  ],
  ['host network', podOf({ hostNetwork: true }), {}, ['192.168.0.10', 'fd01::1'], ['192.168.0.10', 'fd01::1']],
  [
    'host network: set once',
    podOf({ hostNetwork: true }),
    { previous: { podIPs: [{ ip: '192.168.0.9' }] } },
    ['192.168.0.10'],
    ['192.168.0.9'],
  ],
  [
    'host network: a second family may come',
    podOf({ hostNetwork: true }),
    { previous: { podIPs: [{ ip: '192.168.0.9' }] } },
    ['192.168.0.10', 'fd01::1'],
    ['192.168.0.9', 'fd01::1'],
  ],
  ['standalone', podOf({ hostNetwork: true }), {}, [], []],
];
for (const [title, pod, part, hostIps, ips] of addressCases)
  test(`addresses: ${title}`, (t) => {
    const status = computePodStatus(input(pod, part), noProbes, { hostIps });
    t.deepEqual(
      (status.podIPs ?? []).map(({ ip }) => ip),
      ips,
    );
    t.is(status.podIP, ips[0]);
    t.is(status.hostIP, hostIps[0]);
  });

test('resources and mounts are repeated from the spec', (t) => {
  const pod = podOf({
    containers: [
      {
        name: 'app',
        resources: { requests: { cpu: '1' } },
        volumeMounts: [
          { name: 'v', mountPath: '/v' },
          { name: 'r', mountPath: '/r', readOnly: true },
          { name: 'e', mountPath: '/e', readOnly: true, recursiveReadOnly: 'Enabled' },
          { name: 'i', mountPath: '/i', readOnly: true, recursiveReadOnly: 'IfPossible' },
        ],
      },
    ],
  });
  const [app] = computePodStatus(input(pod, { runtime: observed([run('app')]) }), noProbes, { hostIps: [] })
    .containerStatuses!;
  t.deepEqual(app!.resources, { requests: { cpu: '1' } });
  t.deepEqual(app!.allocatedResources, { cpu: '1' });
  t.deepEqual(app!.volumeMounts, [
    { name: 'v', mountPath: '/v' },
    { name: 'r', mountPath: '/r', readOnly: true, recursiveReadOnly: 'Disabled' },
    { name: 'e', mountPath: '/e', readOnly: true, recursiveReadOnly: 'Enabled' },
    { name: 'i', mountPath: '/i', readOnly: true, recursiveReadOnly: 'Disabled' },
  ]);
  const able = computePodStatus(input(pod, { runtime: observed([run('app')]) }), noProbes, {
    hostIps: [],
    recursiveReadOnly: true,
  });
  t.is(able.containerStatuses![0]!.volumeMounts!.at(-1)!.recursiveReadOnly, 'Enabled');
});

test('what has no container yet has been given nothing', (t) => {
  const pod = podOf({ containers: [{ name: 'app', resources: { requests: { cpu: '1' } } }] });
  const [app] = computePodStatus(input(pod), noProbes, { hostIps: [] }).containerStatuses!;
  t.is(app!.resources, undefined);
  t.is(app!.allocatedResources, undefined);
});

test('a container whose postStart hook runs is not shown as running, whoever looks meanwhile', (t) => {
  const starting = run('app', { isStarting: true });
  const status = computePodStatus(input(podOf(), { runtime: observed([starting]) }), noProbes, { hostIps: [] });
  t.is(status.phase, 'Pending');
  t.like(status.containerStatuses![0]!, {
    state: { waiting: { reason: 'ContainerCreating' } },
    ready: false,
    started: false,
  });
});

test('the user of a container is known as long as the container is shown', (t) => {
  const user = { uid: 1000, gid: 1000, supplementalGroups: [1000, 2000] };
  const compute = (part: Partial<PodStatusInput>) => computePodStatus(input(podOf(), part), noProbes, { hostIps: [] });
  const running = compute({ runtime: observed([run('app', { user })]) });
  t.deepEqual(running.containerStatuses![0]!.user, { linux: user });
  const ended = compute({ runtime: observed([run('app', { exit: 0 })]), previous: running });
  t.deepEqual(ended.containerStatuses![0]!.user, { linux: user });
  const next = compute({ runtime: observed([run('app', { id: 'app1', restartCount: 1 })]), previous: running });
  t.is(next.containerStatuses![0]!.user, undefined);
});
