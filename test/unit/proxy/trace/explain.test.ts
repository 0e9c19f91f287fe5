import test from 'ava';
import { renderIptablesText } from '../../../../proxy/iptables/text.ts';
import type { NodeRenderOptions, ProxyMode } from '../../../../proxy/mode.ts';
import { compareEnds, type End } from '../../../../proxy/trace/ends.ts';
import type { Packet } from '../../../../proxy/trace/packet.ts';
import { readRulesSteps } from '../../../../proxy/trace/rules-text.ts';
import { tracePacket } from '../../../../proxy/trace/trace.ts';
import type { EndpointSlice, Service } from '../../../../src/kube/types.ts';
import { runAtOnce } from '../../../../src/runtime/slices.ts';
import { NODE_OPTIONS, serviceOf, sliceOf, snapshotOf } from '../../../support/proxy.ts';

const HOST = { localAddresses: ['192.168.0.2'] };
const NOT_READY = { ready: false, serving: false, terminating: false };
const REMOTE = { ip: '10.244.2.3', nodeName: 'node-2' };

const MODE = {
  name: 'iptables',
  renderText: (snapshot, node) =>
    renderIptablesText(snapshot, { ...node, hasRandomFully: true, isLargeCluster: false }),
} as ProxyMode;

interface Question {
  services: Service[];
  slices?: EndpointSlice[];
  to: string;
  protocol?: Packet['protocol'];
  from?: Pick<Packet, 'source' | 'inInterface'>;
  node?: Partial<NodeRenderOptions>;
  mode?: ProxyMode;
}

function ask({ services, slices = [], to, protocol = 'TCP', from, node, mode = MODE }: Question, live?: string) {
  const [destination, port] = to.split(':') as [string, string];
  const packet = { protocol, source: '10.244.0.9', inInterface: 'cni0', ...from, destination };
  return tracePacket(
    {
      family: 'IPv4',
      mode,
      snapshot: snapshotOf(services, slices),
      node: { ...NODE_OPTIONS, ...node },
      host: HOST,
    },
    { ...packet, destinationPort: Number(port) },
    live === undefined ? undefined : runAtOnce(readRulesSteps('IPv4', live)),
  );
}

const web = serviceOf('ns/web', '10.96.0.1');

const REASONS: [what: string, question: Question, reasons: (string | RegExp)[]][] = [
  ['an address of nobody', { services: [web], to: '10.96.0.9:80' }, [/^no Service of this cluster answers at/]],
  [
    'an address of nobody among the ClusterIPs',
    { services: [web], to: '10.96.0.9:80', node: { serviceCidrs: ['10.96.0.0/16'] } },
    ['no Service has the address 10.96.0.9'],
  ],
  [
    'the wrong port',
    { services: [web], to: '10.96.0.1:81' },
    ['10.96.0.1 is Service ns/web, whose ports are 80/TCP, not 81/TCP'],
  ],
  [
    'the wrong protocol',
    { services: [web], to: '10.96.0.1:80', protocol: 'UDP' },
    ['10.96.0.1 is Service ns/web, whose ports are 80/TCP, not 80/UDP'],
  ],
  ['no endpoints at all', { services: [web], to: '10.96.0.1:80' }, [/^there is no endpoint for port 80\/TCP/]],
  [
    'none that is ready',
    { services: [web], slices: [sliceOf('ns/web', [{ ip: '10.244.0.1', conditions: NOT_READY }])], to: '10.96.0.1:80' },
    ['no endpoint for port 80/TCP is ready: 10.244.0.1:8080 (not ready)'],
  ],
  [
    'one that is left out',
    {
      services: [web],
      slices: [sliceOf('ns/web', ['10.244.0.1', { ip: '10.244.0.2', conditions: NOT_READY }])],
      to: '10.96.0.1:80',
    },
    ['left out: 10.244.0.2:8080 (not ready)'],
  ],
  [
    'a policy without local endpoints',
    {
      services: [serviceOf('ns/web', '10.96.0.1', { internalTrafficPolicy: 'Local' })],
      slices: [sliceOf('ns/web', [REMOTE])],
      to: '10.96.0.1:80',
    },
    ['internalTrafficPolicy is Local, and of 1 endpoint none is on this node (node-1)'],
  ],
  [
    'source ranges',
    {
      services: [
        serviceOf('ns/web', '10.96.0.1', {
          type: 'LoadBalancer',
          ingress: [{ ip: '198.51.100.1' }],
          loadBalancerSourceRanges: ['203.0.113.0/24'],
        }),
      ],
      slices: [sliceOf('ns/web', ['10.244.0.1'])],
      to: '198.51.100.1:80',
    },
    ['10.244.0.9 is not in loadBalancerSourceRanges (203.0.113.0/24)'],
  ],
  [
    'affinity, and a client that is hidden',
    {
      services: [serviceOf('ns/web', '10.96.0.1', { sessionAffinity: 'ClientIP' })],
      slices: [sliceOf('ns/web', ['10.244.0.1'])],
      to: '10.96.0.1:80',
      from: { source: '203.0.113.9', inInterface: 'eth0' },
    },
    [/^sessionAffinity: .* 10800 s/, 'endpoints see an address of this node as client'],
  ],
];

for (const [what, question, expected] of REASONS)
  test(`why: ${what}`, async (t) => {
    const { reasons } = await ask(question);
    t.is(reasons.length, expected.length, reasons.join('; '));
    for (const [index, one] of expected.entries())
      if (typeof one === 'string') t.is(reasons[index], one);
      else t.regex(reasons[index]!, one);
  });

test('a trace names its service port, and every rule on the way', async (t) => {
  const { service, ends } = await ask({
    services: [web],
    slices: [sliceOf('ns/web', ['10.244.0.1'])],
    to: '10.96.0.1:80',
  });
  t.deepEqual(service, { namespace: 'ns', name: 'web', port: '', at: 'ClusterIP' });
  t.deepEqual(
    ends[0]?.rules.map(({ table, chain }) => `${table} ${chain.replace(/-[A-Z0-9]{16}$/, '')}`),
    [
      'nat PREROUTING',
      'nat KUBE-SERVICES',
      'nat KUBE-SVC',
      'nat KUBE-SEP',
      'filter FORWARD',
      'filter FORWARD',
      'filter FORWARD',
      'filter FORWARD',
      'nat POSTROUTING',
      'nat KUBE-POSTROUTING',
    ],
  );
});

const question = { services: [web], slices: [sliceOf('ns/web', ['10.244.0.1', '10.244.0.2'])], to: '10.96.0.1:80' };

test("the kernel's rules agree with what is rendered, whoever else has rules there", async (t) => {
  const text = await MODE.renderText!(snapshotOf(question.services, question.slices), NODE_OPTIONS);
  const others =
    'table inet firewall {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n';
  t.deepEqual((await ask(question, text + others)).live?.differences, []);
});

test("where the kernel's rules lead elsewhere, it is said how, and by which rule of whom", async (t) => {
  const stale = await MODE.renderText!(snapshotOf([web], [sliceOf('ns/web', ['10.244.0.1'])]), NODE_OPTIONS);
  t.deepEqual((await ask(question, stale)).live?.differences, [
    '10.244.0.1:8080: 50 % as rendered, 100 % in the kernel',
    "the kernel's rules never lead to: 10.244.0.2:8080",
  ]);
  const whole = await MODE.renderText!(snapshotOf(question.services, question.slices), NODE_OPTIONS);
  const firewall =
    'table inet firewall {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\tip daddr 10.244.0.2 drop\n\t}\n}\n';
  t.deepEqual((await ask(question, whole + firewall)).live?.differences, [
    "the kernel's rules never lead to: 10.244.0.2:8080",
    "the kernel's rules also lead to: dropped (by inet firewall forward: ip daddr 10.244.0.2 drop)",
  ]);
});

test('a mode whose rules lead to relays: only the kernel has ends, and it is said', async (t) => {
  const relay = { ...question, mode: { name: 'userspace' } as ProxyMode };
  const { ends, reasons, live } = await ask(relay, '*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n');
  t.regex(reasons[0]!, /^mode userspace relays in its own process/);
  t.deepEqual(live?.differences, []);
  t.is(ends[0]?.destination, '10.96.0.1:80');
  t.deepEqual((await ask(relay)).ends, []);
});

test('nothing of ours in the kernel: the packet goes on as it was', async (t) => {
  const { live } = await ask(question, '');
  t.is(live?.ends[0]?.destination, '10.96.0.1:80');
  t.is(live?.differences.length, 3);
});

test('chances that differ by less than their spelling are the same', (t) => {
  const end: End = {
    verdict: 'ACCEPT',
    destination: 'a',
    probability: 1 / 3,
    isMasqueraded: false,
    rules: [],
    doubts: [],
  };
  t.deepEqual(compareEnds([end], [{ ...end, probability: 0.3333333335 }]), []);
});
