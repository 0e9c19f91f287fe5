import test from 'ava';
import { createAdmissionChain } from '../../../../agent/pods/admission-chain.ts';
import { createNodeAdmission } from '../../../../agent/resources/admission/handlers.ts';
import type { AdmittingNode } from '../../../../agent/resources/admission/node.ts';
import { tolerates } from '../../../../agent/resources/admission/tolerations.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { podOf, resources } from '../pod.ts';

const node: AdmittingNode = {
  name: 'n1',
  labels: { 'kubernetes.io/os': 'linux', zone: 'a', cores: '8' },
  taints: [],
  allocatable: {
    cpuMillis: 1950,
    memoryBytes: 2 ** 30,
    ephemeralStorageBytes: 2 ** 30,
    pods: 3,
    hugepages: new Map(),
  },
  allowedUnsafeSysctls: ['net.core.*'],
};
const withCpu = (cpu: string) => podOf({ containers: [{ name: 'a', resources: resources(cpu) }] });
const withPort = (hostPort: number, hostIP?: string, protocol?: string) =>
  podOf({ containers: [{ name: 'a', ports: [{ containerPort: 80, hostPort, hostIP, protocol: protocol as 'TCP' }] }] });
const affinity = (matchExpressions: object[], matchFields?: object[]) =>
  podOf({
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions, matchFields }] },
      },
    },
  } as Pod['spec']);
const evict = { key: 'k', value: 'v', effect: 'NoExecute' as const };

const cases: [string, Pod, Pod[], Partial<AdmittingNode>, string | undefined, string?][] = [
  ['fits', withCpu('50m'), [withCpu('1900m')], {}, undefined],
  [
    'cpu',
    withCpu('100m'),
    [withCpu('1900m')],
    {},
    'OutOfcpu',
    "Node didn't have enough resource: cpu, requested: 100, used: 1900, capacity: 1950",
  ],
  ['no request always fits', podOf(), [withCpu('3')], {}, undefined],
  ['memory', podOf({ containers: [{ name: 'a', resources: resources('', '2Gi') }] }), [], {}, 'OutOfmemory'],
  [
    'pods',
    podOf(),
    [podOf(), podOf(), podOf()],
    {},
    'OutOfpods',
    "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
  ],
  [
    'unknown resources are ignored',
    podOf({ containers: [{ name: 'a', resources: { requests: { 'x/gpu': '1' } } }] }),
    [],
    {},
    undefined,
  ],
  [
    'node selector',
    podOf({ nodeSelector: { zone: 'b' } }),
    [],
    {},
    'NodeAffinity',
    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  ],
  ['node selector holds', podOf({ nodeSelector: { zone: 'a' } }), [], {}, undefined],
  ['affinity In', affinity([{ key: 'zone', operator: 'In', values: ['a'] }]), [], {}, undefined],
  ['affinity Gt', affinity([{ key: 'cores', operator: 'Gt', values: ['8'] }]), [], {}, 'NodeAffinity'],
  ['affinity on a field', affinity([], [{ key: 'metadata.name', operator: 'In', values: ['n1'] }]), [], {}, undefined],
  ['affinity: an empty term matches nothing', affinity([]), [], {}, 'NodeAffinity'],
  [
    'affinity: what cannot be parsed matches nothing',
    affinity([{ key: 'zone', operator: 'Is' }]),
    [],
    {},
    'NodeAffinity',
  ],
  ['node name', podOf({ nodeName: 'n2' }), [], {}, 'NodeName'],
  [
    'host port',
    withPort(80),
    [withPort(80, '10.0.0.1')],
    {},
    'NodePorts',
    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
  ],
  ['host ports of two addresses', withPort(80, '10.0.0.2'), [withPort(80, '10.0.0.1')], {}, undefined],
  ['host ports of two protocols', withPort(80, undefined, 'UDP'), [withPort(80)], {}, undefined],
  ['NoExecute taint', podOf(), [], { taints: [evict] }, 'TaintToleration'],
  ['NoSchedule taint is not our business', podOf(), [], { taints: [{ key: 'k', effect: 'NoSchedule' }] }, undefined],
  ['tolerated', podOf({ tolerations: [{ key: 'k', operator: 'Exists' }] }), [], { taints: [evict] }, undefined],
  [
    'static pods skip taints',
    podOf({}, { annotations: { 'kubernetes.io/config.source': 'file' } }),
    [],
    { taints: [evict] },
    undefined,
  ],
  ['other OS', podOf({ os: { name: 'windows' } }), [], {}, 'PodOSNotSupported'],
  [
    'other OS label',
    podOf({ nodeSelector: { 'kubernetes.io/os': 'windows' } }),
    [],
    {},
    'PodOSSelectorNodeLabelDoesNotMatch',
  ],
  [
    'unsafe sysctl',
    podOf({ securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }),
    [],
    {},
    'SysctlForbidden',
    'forbidden sysctl: "kernel.msgmax" not allowlisted',
  ],
  [
    'allowed unsafe sysctl, safe sysctl',
    podOf({
      securityContext: {
        sysctls: [
          { name: 'net.core.somaxconn', value: '1' },
          { name: 'net/ipv4/tcp_syncookies', value: '1' },
        ],
      },
    }),
    [],
    {},
    undefined,
  ],
  [
    'net sysctl with host network',
    podOf({ hostNetwork: true, securityContext: { sysctls: [{ name: 'net.core.somaxconn', value: '1' }] } }),
    [],
    {},
    'SysctlForbidden',
  ],
];
for (const [title, pod, others, change, reason, message] of cases)
  test(`admission: ${title}`, async (t) => {
    const handlers = createNodeAdmission({
      node: () => ({ ...node, ...change }),
      preempt: () => t.fail('nobody is to be preempted') as never,
    });
    const chain = createAdmissionChain(handlers, { log: silentLogger });
    const rejection = await chain.admit(pod, others, new AbortController().signal);
    t.is(rejection?.reason, reason);
    if (message) t.is(rejection?.message, message);
  });

test('tolerations', (t) => {
  t.true(tolerates({ operator: 'Exists' }, evict));
  t.true(tolerates({ key: 'k', value: 'v' }, evict));
  t.true(tolerates({ key: 'k', operator: 'Equal', value: 'v', effect: 'NoExecute' }, evict));
  t.false(tolerates({ key: 'k', value: 'w' }, evict));
  t.false(tolerates({ key: 'k', operator: 'Exists', effect: 'NoSchedule' }, evict));
  t.false(tolerates({ key: 'other', operator: 'Exists' }, evict));
});
