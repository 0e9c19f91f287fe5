import test from 'ava';
import { applyPodDefaults } from '../../../../control-plane/resources/pod-spec/defaults.ts';
import { validatePodSpec } from '../../../../control-plane/resources/pod-spec/pod-spec.ts';
import type { Container, Pod, PodSpec } from '../../../../src/kube/types.ts';
import { errorTexts, meta } from '../../../support/strategy-context.ts';

const container = (rest: Partial<Container> = {}): Container => ({ name: 'c', image: 'nginx:1', ...rest });

/** What is wrong with a pod of one good container and this. */
function problemsOf(spec: Partial<PodSpec>): string[] {
  const pod: Pod = { metadata: meta('p'), spec: { containers: [container()], ...structuredClone(spec) } };
  applyPodDefaults(pod);
  return errorTexts(validatePodSpec(pod.spec, 'spec', true));
}

const problemsOfContainer = (rest: Partial<Container>) => problemsOf({ containers: [container(rest)] });

test('a good pod has no problems', (t) => {
  t.deepEqual(
    problemsOf({
      initContainers: [container({ name: 'i' }), container({ name: 's', restartPolicy: 'Always' })],
      containers: [
        container({
          ports: [{ name: 'http', containerPort: 80, hostPort: 8080 }],
          env: [
            { name: 'A', value: 'b' },
            { name: 'B', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
            { name: 'C', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } } },
          ],
          envFrom: [{ configMapRef: { name: 'cm' } }],
          resources: { limits: { cpu: '1', memory: '1Gi', 'example.com/gpu': '2' }, requests: { cpu: '10m' } },
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
          livenessProbe: { exec: { command: ['true'] } },
          securityContext: { runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
        }),
      ],
      volumes: [{ name: 'data', emptyDir: { sizeLimit: '1Gi' } }],
      tolerations: [{ key: 'a', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 5 }],
      nodeSelector: { 'kubernetes.io/os': 'linux' },
    }),
    [],
  );
});

const LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const podCases: [string, Partial<PodSpec>, string[]][] = [
  ['no containers', { containers: [] }, ['spec.containers: Required value']],
  [
    'a name in upper case',
    { containers: [container({ name: 'X' })] },
    [`spec.containers[0].name: Invalid value: "X": ${LABEL_RULE}`],
  ],
  ['no image', { containers: [{ name: 'c' }] }, ['spec.containers[0].image: Required value']],
  [
    'twice the same container',
    { containers: [container(), container()] },
    ['spec.containers[1].name: Duplicate value: "c"'],
  ],
  [
    'an init container of the same name',
    { initContainers: [container()] },
    ['spec.initContainers[0].name: Duplicate value: "c"'],
  ],
  [
    'a probe of an init container',
    { initContainers: [container({ name: 'i', livenessProbe: { exec: { command: ['x'] } } })] },
    [
      'spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always',
    ],
  ],
  [
    'an unknown restartPolicy',
    { restartPolicy: 'Sometimes' as never },
    ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'],
  ],
  [
    'an unknown dnsPolicy',
    { dnsPolicy: 'X' as never },
    [
      'spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"',
    ],
  ],
  [
    'dnsPolicy None without servers',
    { dnsPolicy: 'None', dnsConfig: {} },
    ['spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None'],
  ],
  [
    'a nameserver that is no address',
    { dnsConfig: { nameservers: ['dns'] } },
    [
      'spec.dnsConfig.nameservers[0]: Invalid value: "dns": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    ],
  ],
  [
    'a volume with two sources',
    { volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/x' } }] },
    ['spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type'],
  ],
  [
    'twice the same volume',
    { volumes: [{ name: 'v' }, { name: 'v' }] },
    ['spec.volumes[1].name: Duplicate value: "v"'],
  ],
  [
    'a host path that climbs',
    { volumes: [{ name: 'v', hostPath: { path: '/a/../b' } }] },
    ['spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain \'..\''],
  ],
  [
    'a secret volume without a name',
    { volumes: [{ name: 'v', secret: {} }] },
    ['spec.volumes[0].secret.secretName: Required value'],
  ],
  [
    'an item of a config map that leaves the volume',
    { volumes: [{ name: 'v', configMap: { name: 'm', items: [{ key: 'k', path: '/etc/x' }] } }] },
    ['spec.volumes[0].configMap.items[0].path: Invalid value: "/etc/x": must be a relative path'],
  ],
  [
    'a toleration without key and operator',
    { tolerations: [{ value: 'x' }] },
    [
      'spec.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys"',
    ],
  ],
  [
    'tolerationSeconds of another effect',
    { tolerations: [{ key: 'a', operator: 'Exists', effect: 'NoSchedule', tolerationSeconds: 1 }] },
    [
      'spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be \'NoExecute\' when `tolerationSeconds` is set',
    ],
  ],
  [
    'node affinity without terms',
    { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } } },
    [
      'spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term',
    ],
  ],
  [
    'spreading over nothing',
    { topologySpreadConstraints: [{ maxSkew: 0, topologyKey: '', whenUnsatisfiable: 'DoNotSchedule' }] },
    [
      'spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero',
      'spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty',
    ],
  ],
  ['a negative grace period, which upstream takes', { terminationGracePeriodSeconds: -1 }, []],
  [
    'a deadline of nothing',
    { activeDeadlineSeconds: 0 },
    ['spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive'],
  ],
  ['a hostname with dots', { hostname: 'a.b' }, ['spec.hostname: Invalid value: "a.b": must not contain dots']],
  [
    'host pid and a shared process namespace',
    { hostPID: true, shareProcessNamespace: true },
    [
      'spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled',
    ],
  ],
  [
    'a sysctl of the host’s network',
    { hostNetwork: true, securityContext: { sysctls: [{ name: 'net.core.somaxconn', value: '1' }] } },
    [
      'spec.securityContext.sysctls[0].name: Invalid value: "net.core.somaxconn": may not be specified when \'hostNetwork\' is true',
    ],
  ],
  [
    'two containers on one host port',
    {
      containers: [
        container({ name: 'a', ports: [{ containerPort: 1, hostPort: 5 }] }),
        container({ name: 'b', ports: [{ containerPort: 2, hostPort: 5 }] }),
      ],
    },
    ['spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//5"'],
  ],
  [
    'another host port on the host network',
    { hostNetwork: true, containers: [container({ ports: [{ containerPort: 80, hostPort: 81 }] })] },
    ['spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true'],
  ],
  [
    'a host alias without an address',
    { hostAliases: [{ ip: 'x', hostnames: ['ok.example'] }] },
    ['spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
  ],
];
test('a stop signal is one that the pod’s system has', (t) => {
  const problems = (os: 'linux' | 'windows', stopSignal: string) =>
    problemsOf({ os: { name: os }, containers: [container({ lifecycle: { stopSignal } as never })] });
  t.deepEqual(problems('linux', 'SIGRTMIN+15'), []);
  t.deepEqual(problems('linux', 'SIGUSR1'), []);
  t.deepEqual(problems('windows', 'SIGUSR1'), [
    'spec.containers[0].lifecycle.stopSignal: Unsupported value: "SIGUSR1": supported values: "SIGKILL", "SIGTERM"',
  ]);
  t.regex(problems('linux', 'TERM')[0]!, /Unsupported value: "TERM"/);
});

for (const [what, spec, expected] of podCases)
  test(`pod: ${what}`, (t) => {
    t.deepEqual(problemsOf(spec), expected);
  });

const containerCases: [string, Partial<Container>, string[]][] = [
  [
    'restart rules without a policy',
    { restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [1] } }] },
    ['spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used'],
  ],
  [
    'good restart rules',
    {
      restartPolicy: 'Never',
      restartPolicyRules: [
        { action: 'Restart', exitCodes: { operator: 'In', values: [1] } },
        { action: 'RestartAllContainers', exitCodes: { operator: 'NotIn', values: [0] } },
      ],
    },
    [],
  ],
  [
    'restart rules that say nothing of the kind',
    {
      restartPolicy: 'Never',
      restartPolicyRules: [
        { action: 'Reboot' as never, exitCodes: { operator: 'Is' as never } },
        { action: 'Restart' },
      ],
    },
    [
      'spec.containers[0].restartPolicyRules[0].action: Unsupported value: "Reboot": supported values: "Restart", "RestartAllContainers"',
      'spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"',
      'spec.containers[0].restartPolicyRules[1].exitCodes: Required value: must be specified',
    ],
  ],
  [
    'too many restart rules',
    {
      restartPolicy: 'Never',
      restartPolicyRules: Array.from({ length: 21 }, () => ({
        action: 'Restart' as const,
        exitCodes: { operator: 'In' as const, values: [1] },
      })),
    },
    ['spec.containers[0].restartPolicyRules: Too many: 21: must have at most 20 items'],
  ],
  [
    'a stop signal on an unknown system',
    { lifecycle: { stopSignal: 'SIGUSR1' } },
    ['spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`'],
  ],
  [
    'a port out of range',
    { ports: [{ containerPort: 70000 }] },
    ['spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive'],
  ],
  [
    'a port’s long name',
    { ports: [{ name: 'a-very-long-name-of-a-port', containerPort: 1 }] },
    [
      'spec.containers[0].ports[0].name: Invalid value: "a-very-long-name-of-a-port": must be no more than 15 characters',
    ],
  ],
  [
    'an unknown protocol',
    { ports: [{ containerPort: 1, protocol: 'ICMP' as never }] },
    ['spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
  ],
  [
    'a variable with = in its name',
    { env: [{ name: 'A=B' }] },
    [
      'spec.containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than \'=\'',
    ],
  ],
  ['a nameless variable', { env: [{ name: '' }] }, ['spec.containers[0].env[0].name: Required value']],
  [
    'a variable from two places',
    {
      env: [
        {
          name: 'A',
          valueFrom: { configMapKeyRef: { name: 'm', key: 'k' }, secretKeyRef: { name: 's', key: 'k' } },
        },
      ],
    },
    ['spec.containers[0].env[0].valueFrom: Invalid value: "": may not have more than one field specified at a time'],
  ],
  [
    'a field that variables cannot have',
    { env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.labels' } } }] },
    [
      'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
    ],
  ],
  [
    'a field that does not exist',
    { env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'spec.what' } } }] },
    [
      'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.what": error converting fieldPath: field label not supported: spec.what',
    ],
  ],
  [
    'a mount of no volume',
    { volumeMounts: [{ name: 'v', mountPath: '/x' }] },
    ['spec.containers[0].volumeMounts[0].name: Not found: "v"'],
  ],
  [
    'a request above its limit',
    { resources: { limits: { cpu: '1' }, requests: { cpu: '2' } } },
    ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
  ],
  [
    'half a device',
    { resources: { limits: { 'example.com/gpu': '500m' } } },
    [
      'spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer',
      'spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "500m": must be an integer',
    ],
  ],
  [
    'an unknown resource',
    { resources: { requests: { disk: '1' } } },
    [
      'spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
      'spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource for containers',
    ],
  ],
  [
    'a negative request',
    { resources: { requests: { memory: '-1' } } },
    ['spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0'],
  ],
  [
    'huge pages alone',
    { resources: { limits: { 'hugepages-2Mi': '2Mi' } } },
    ['spec.containers[0].resources: Forbidden: HugePages require cpu or memory'],
  ],
  [
    'a liveness probe that must succeed twice',
    { livenessProbe: { exec: { command: ['x'] }, successThreshold: 2 } },
    ['spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1'],
  ],
  [
    'a probe of nothing',
    { readinessProbe: {} },
    ['spec.containers[0].readinessProbe: Required value: must specify a handler type'],
  ],
  [
    'a probe of two things',
    { readinessProbe: { exec: { command: ['x'] }, tcpSocket: { port: 1 } } },
    ['spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type'],
  ],
  [
    'a probe of no port',
    { readinessProbe: { httpGet: { port: 0 } } },
    ['spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive'],
  ],
  [
    'an unknown pull policy',
    { imagePullPolicy: 'Often' as never },
    [
      'spec.containers[0].imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"',
    ],
  ],
  [
    'privileges that must not grow',
    { securityContext: { privileged: true, allowPrivilegeEscalation: false } },
    [
      'spec.containers[0].securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
    ],
  ],
  [
    'a user that is none',
    { securityContext: { runAsUser: -1 } },
    ['spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive'],
  ],
];
for (const [what, rest, expected] of containerCases)
  test(`container: ${what}`, (t) => {
    t.deepEqual(problemsOfContainer(rest), expected);
  });
