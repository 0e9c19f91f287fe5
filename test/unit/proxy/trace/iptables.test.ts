import test from 'ava';
import { buildFullTransaction } from '../../../../proxy/iptables/text.ts';
import type { NodeRenderOptions } from '../../../../proxy/mode.ts';
import { readIptables } from '../../../../proxy/trace/iptables-text.ts';
import type { Packet, TraceHost } from '../../../../proxy/trace/packet.ts';
import { walkPacket } from '../../../../proxy/trace/walk.ts';
import type { EndpointSlice, Service } from '../../../../src/kube/types.ts';
import { createFakeIptables } from '../../../fakes/iptables.ts';
import { NODE_OPTIONS, serviceOf, sliceOf, snapshotOf } from '../../../support/proxy.ts';

const HOST: TraceHost = { localAddresses: ['192.168.0.2', '10.244.0.254'] };
const POD = { source: '10.244.0.9', inInterface: 'cni0' };
const OUTSIDE = { source: '203.0.113.9', inInterface: 'eth0' };
const NODE = { source: '192.168.0.2' };
const REMOTE = { ip: '10.244.2.3', nodeName: 'node-2' };

/** What becomes of a packet: "10.244.0.1:8080 or 10.244.2.3:8080 masqueraded", "REJECT". */
async function fate(
  world: { services: Service[]; slices: EndpointSlice[]; options?: Partial<NodeRenderOptions>; host?: TraceHost },
  packet: Partial<Packet> & { source: string; to: string },
): Promise<string> {
  const iptables = createFakeIptables();
  const options = { ...NODE_OPTIONS, hasRandomFully: true, isLargeCluster: false, ...world.options };
  await iptables.restore(buildFullTransaction(snapshotOf(world.services, world.slices), options));
  const [destination, port] = packet.to.split(':') as [string, string];
  const outcomes = walkPacket(
    [readIptables('IPv4', await iptables.save())],
    { protocol: 'TCP', ...packet, destination, destinationPort: Number(port) },
    world.host ?? HOST,
  );
  const total = outcomes.reduce((sum, { probability }) => sum + probability, 0);
  if (Math.abs(total - 1) > 1e-6) throw new Error(`chances sum up to ${total}`);
  const ends = outcomes.map(({ verdict, destination: end, isMasqueraded }) =>
    verdict === 'ACCEPT' ? `${end}${isMasqueraded ? ' masqueraded' : ''}` : verdict,
  );
  return [...new Set(ends)].sort().join(' or ');
}

const NODE_PORT = { type: 'NodePort' as const, ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' as const }] };
const clusterIp = { services: [serviceOf('ns/a', '10.96.0.1')], slices: [sliceOf('ns/a', ['10.244.0.1', REMOTE])] };
const nodePort = { ...clusterIp, services: [serviceOf('ns/a', '10.96.0.1', NODE_PORT)] };
const externalLocal = {
  ...clusterIp,
  services: [serviceOf('ns/a', '10.96.0.1', { ...NODE_PORT, externalTrafficPolicy: 'Local' })],
};
const noneHere = { ...externalLocal, slices: [sliceOf('ns/a', [REMOTE])] };
const none = { ...nodePort, slices: [] };
const internalLocal = { ...clusterIp, services: [serviceOf('ns/a', '10.96.0.1', { internalTrafficPolicy: 'Local' })] };
const balancer = {
  ...clusterIp,
  services: [
    serviceOf('ns/a', '10.96.0.1', {
      type: 'LoadBalancer',
      ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }],
      ingress: [{ ip: '198.51.100.1' }],
      loadBalancerSourceRanges: ['203.0.113.0/24'],
    }),
  ],
  slices: [sliceOf('ns/a', ['10.244.0.1'])],
};
const sticky = {
  ...clusterIp,
  services: [serviceOf('ns/a', '10.96.0.1', { sessionAffinity: 'ClientIP' })],
};
const BOTH = '10.244.0.1:8080 or 10.244.2.3:8080';
const BOTH_MASQUERADED = '10.244.0.1:8080 masqueraded or 10.244.2.3:8080 masqueraded';

const CASES: [what: string, world: Parameters<typeof fate>[0], packet: Parameters<typeof fate>[1], expected: string][] =
  [
    ['a pod to a cluster IP keeps its source', clusterIp, { ...POD, to: '10.96.0.1:80' }, BOTH],
    ['the node to a cluster IP', clusterIp, { ...NODE, to: '10.96.0.1:80' }, BOTH_MASQUERADED],
    ['from outside to a cluster IP', clusterIp, { ...OUTSIDE, to: '10.96.0.1:80' }, BOTH_MASQUERADED],
    [
      'masqueradeAll',
      { ...clusterIp, options: { masqueradeAll: true } },
      { ...POD, to: '10.96.0.1:80' },
      BOTH_MASQUERADED,
    ],
    [
      'no detector: nothing is masqueraded',
      { ...clusterIp, options: { localDetector: { kind: 'none' } } },
      { ...OUTSIDE, to: '10.96.0.1:80' },
      BOTH,
    ],
    [
      'by bridge: a pod',
      { ...clusterIp, options: { localDetector: { kind: 'bridge', name: 'cni0' } } },
      { ...POD, to: '10.96.0.1:80' },
      BOTH,
    ],
    [
      'by prefix: not a pod',
      { ...clusterIp, options: { localDetector: { kind: 'prefix', prefix: 'veth' } } },
      { ...OUTSIDE, to: '10.96.0.1:80' },
      BOTH_MASQUERADED,
    ],
    [
      'hairpin: only the way back to itself is masqueraded',
      clusterIp,
      { ...POD, source: '10.244.0.1', to: '10.96.0.1:80' },
      '10.244.0.1:8080 masqueraded or 10.244.2.3:8080',
    ],
    ['another port of a cluster IP is none of ours', clusterIp, { ...POD, to: '10.96.0.1:81' }, '10.96.0.1:81'],
    ['another protocol too', clusterIp, { ...POD, protocol: 'UDP', to: '10.96.0.1:80' }, '10.96.0.1:80'],
    ['no endpoints: refused, from a pod', none, { ...POD, to: '10.96.0.1:80' }, 'REJECT'],
    ['no endpoints: refused, from the node', none, { ...NODE, to: '10.96.0.1:80' }, 'REJECT'],
    ['no endpoints: refused on the node port', none, { ...OUTSIDE, to: '192.168.0.2:30080' }, 'REJECT'],
    ['node port from outside', nodePort, { ...OUTSIDE, to: '192.168.0.2:30080' }, BOTH_MASQUERADED],
    ['node port on another local address', nodePort, { ...OUTSIDE, to: '10.244.0.254:30080' }, BOTH_MASQUERADED],
    ['node port on localhost', nodePort, { ...NODE, source: '127.0.0.1', to: '127.0.0.1:30080' }, BOTH_MASQUERADED],
    [
      'localhost node ports switched off',
      { ...nodePort, options: { localhostNodePorts: false } },
      { source: '127.0.0.1', to: '127.0.0.1:30080' },
      '127.0.0.1:30080',
    ],
    ['CVE-2020-8558: for 127/8 from the wire', clusterIp, { ...OUTSIDE, to: '127.0.0.1:5000' }, 'DROP'],
    ['node port elsewhere', nodePort, { ...OUTSIDE, to: '192.168.0.3:30080' }, '192.168.0.3:30080'],
    [
      'nodePortAddresses: the named one',
      { ...nodePort, options: { nodePortAddresses: ['192.168.0.2'] } },
      { ...OUTSIDE, to: '192.168.0.2:30080' },
      BOTH_MASQUERADED,
    ],
    [
      'nodePortAddresses: not another',
      { ...nodePort, options: { nodePortAddresses: ['192.168.0.2'] } },
      { ...OUTSIDE, to: '10.244.0.254:30080' },
      '10.244.0.254:30080',
    ],
    [
      'external Local keeps the client address',
      externalLocal,
      { ...OUTSIDE, to: '192.168.0.2:30080' },
      '10.244.0.1:8080',
    ],
    ['external Local: a pod reaches all', externalLocal, { ...POD, to: '192.168.0.2:30080' }, BOTH],
    ['external Local: the node reaches all', externalLocal, { ...NODE, to: '192.168.0.2:30080' }, BOTH_MASQUERADED],
    ['external Local, none here: dropped', noneHere, { ...OUTSIDE, to: '192.168.0.2:30080' }, 'DROP'],
    ['external Local, none here: a pod gets through', noneHere, { ...POD, to: '192.168.0.2:30080' }, '10.244.2.3:8080'],
    [
      'external Local, none here: the node gets through',
      noneHere,
      { ...NODE, to: '192.168.0.2:30080' },
      '10.244.2.3:8080 masqueraded',
    ],
    ['external Local, none here: the cluster IP works', noneHere, { ...POD, to: '10.96.0.1:80' }, '10.244.2.3:8080'],
    ['internal Local', internalLocal, { ...POD, to: '10.96.0.1:80' }, '10.244.0.1:8080'],
    [
      'internal Local, none here: dropped',
      { ...internalLocal, slices: [sliceOf('ns/a', [REMOTE])] },
      { ...POD, to: '10.96.0.1:80' },
      'DROP',
    ],
    [
      'load balancer from an allowed range',
      balancer,
      { ...OUTSIDE, to: '198.51.100.1:80' },
      '10.244.0.1:8080 masqueraded',
    ],
    ['load balancer from elsewhere', balancer, { ...OUTSIDE, source: '192.0.2.1', to: '198.51.100.1:80' }, 'DROP'],
    [
      'source ranges are not for node ports',
      balancer,
      { ...OUTSIDE, source: '192.0.2.1', to: '192.168.0.2:30080' },
      '10.244.0.1:8080 masqueraded',
    ],
    ['affinity: a newcomer gets any', sticky, { ...POD, to: '10.96.0.1:80' }, BOTH],
  ];

for (const [what, world, packet, expected] of CASES)
  test(`packet: ${what}`, async (t) => {
    t.is(await fate(world, packet), expected);
  });

test('packet: affinity brings a known client back', async (t) => {
  const rules = buildFullTransaction(snapshotOf(sticky.services, sticky.slices), {
    ...NODE_OPTIONS,
    hasRandomFully: true,
    isLargeCluster: false,
  });
  const remote = rules
    .flatMap(({ commands }) => commands)
    .map((command) => /^-A (KUBE-SEP-\S+) .*--to-destination 10\.244\.2\.3:/.exec(command)?.[1])
    .find(Boolean)!;
  t.is(
    await fate({ ...sticky, host: { ...HOST, remembered: [remote] } }, { ...POD, to: '10.96.0.1:80' }),
    '10.244.2.3:8080',
  );
});
