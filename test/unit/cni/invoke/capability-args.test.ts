import test from 'ava';
import { computeCapabilityArgs } from '../../../../cni/invoke/capability-args.ts';
import { parseConfigurationList } from '../../../../cni/invoke/network-configuration.ts';

const hostPorts = [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' as const, hostIP: '192.0.2.1' }];
const network = (...names: string[]) =>
  parseConfigurationList(
    JSON.stringify({
      name: 'net',
      plugins: [{ type: 'any', capabilities: Object.fromEntries(names.map((name) => [name, true])) }],
    }),
  );

test('only what a plugin declares and the pod has', (t) => {
  const annotations = {
    'kubernetes.io/ingress-bandwidth': '10M',
    'berth/pod-ips': '10.1.1.5/24, fd00::5',
    'berth/pod-mac': '0A:58:00:00:00:01',
  };
  const source = { hostPorts, annotations, podCidrs: ['10.244.1.0/24', 'fd00::/64'] };
  t.deepEqual(computeCapabilityArgs(network(), source), {});
  t.deepEqual(computeCapabilityArgs(network('portMappings', 'bandwidth', 'ipRanges', 'ips', 'mac', 'dns'), source), {
    portMappings: hostPorts,
    bandwidth: { ingressRate: 10_000_000, ingressBurst: 2_147_483_647 },
    ipRanges: [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd00::/64' }]],
    ips: ['10.1.1.5/24', 'fd00::5'],
    mac: '0a:58:00:00:00:01',
  });
  t.deepEqual(computeCapabilityArgs(network('io.kubernetes.cri.pod-annotations'), source), {
    'io.kubernetes.cri.pod-annotations': annotations,
  });
  const nothing = { hostPorts: [], podCidrs: [] };
  t.deepEqual(computeCapabilityArgs(network('portMappings', 'bandwidth', 'ipRanges', 'ips', 'mac'), nothing), {});
});

const EGRESS = 'kubernetes.io/egress-bandwidth';
const wrong: [annotation: string, value: string, message: RegExp][] = [
  [EGRESS, '999', /egress-bandwidth: "999": resource is unreasonably small \(< 1kbit\)/],
  [EGRESS, '1001P', /unreasonably large \(> 1Pbit\)/],
  [EGRESS, 'fast', /failed to get pod bandwidth from annotations: .*quantities must match/],
  [EGRESS, '-5M', /unreasonably small/],
  ['berth/pod-ips', '10.1.1', /annotation berth\/pod-ips: "10\.1\.1"/],
  ['berth/pod-mac', '0a:58', /annotation berth\/pod-mac: "0a:58": expected six/],
];
for (const [annotation, value, message] of wrong)
  test(`refused: ${annotation}=${value}`, (t) => {
    const source = { hostPorts, annotations: { [annotation]: value }, podCidrs: [] };
    t.throws(() => computeCapabilityArgs(network('bandwidth', 'ips', 'mac'), source), { code: 7, message });
  });

for (const [value, bits] of [
  ['1k', 1000],
  ['1P', 1e15],
  ['1.5M', 1_500_000],
  ['8Ki', 8192],
] as const)
  test(`${EGRESS}=${value} is ${bits} bits a second`, (t) => {
    const args = computeCapabilityArgs(network('bandwidth'), {
      hostPorts: [],
      annotations: { [EGRESS]: value },
      podCidrs: [],
    });
    t.deepEqual(args['bandwidth'], { egressRate: bits, egressBurst: 2_147_483_647 });
  });
