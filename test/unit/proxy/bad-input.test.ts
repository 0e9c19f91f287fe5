import test from 'ava';
import { createNodePortGuard } from '../../../proxy/node-port-guard.ts';
import { createProblemLog } from '../../../proxy/problem-log.ts';
import { nodePortKey } from '../../../proxy/state/contenders.ts';
import type { ProxySnapshot } from '../../../proxy/state/model.ts';
import type { Problem } from '../../../proxy/state/problem.ts';
import { createChangeTracker } from '../../../proxy/state/tracker.ts';
import type { EndpointSlice, Service } from '../../../src/kube/types.ts';
import type { IpFamily } from '../../../src/netfilter/tables.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { NODE_NAME, serviceOf, sliceOf } from '../../support/proxy.ts';

const create = (family: IpFamily = 'IPv4', externalIps?: { allowed: string[]; forbidden: string[] }) =>
  createChangeTracker({ family, nodeName: NODE_NAME, externalIps });

/** A Service as the API server would never let it through. */
const broken = (service: Service, spec: object): Service =>
  ({ ...service, spec: { ...service.spec, ...spec } }) as Service;

/** `10.96.0.1:80 → 10.244.0.2:8080` for each port, node ports and outer addresses behind. */
function render({ services }: ProxySnapshot): Record<string, string[]> {
  return Object.fromEntries(
    [...services].map(([name, { ports }]) => [
      name,
      ports.map(({ port, endpoints }) =>
        [
          `${port.clusterIp}:${port.port}/${port.protocol}`,
          ...(port.nodePort ? [`node:${port.nodePort}`] : []),
          ...port.externalIps.map((ip) => `ext:${ip}`),
          ...port.loadBalancerVips.map((ip) => `lb:${ip}`),
          ...endpoints.map(({ address }) => address),
        ].join(' '),
      ),
    ]),
  );
}

interface Case {
  title: string;
  family?: IpFamily;
  services: Service[];
  slices?: EndpointSlice[];
  /** What is programmed all the same. */
  left: Record<string, string[]>;
  /** `ns/name reason: part of the message`. */
  problems: [service: string, reason: Problem['reason'], message: RegExp][];
}

const GOOD = serviceOf('ns/good', '10.96.0.9');
const GOOD_SLICE = sliceOf('ns/good', ['10.244.0.9']);
const GOOD_LEFT = { 'ns/good': ['10.96.0.9:80/TCP 10.244.0.9:8080'] };
const LONG = 'n'.repeat(63);
const nodePort = (name: string, ip: string, port: number, creationTimestamp = '2026-01-01T00:00:00Z') => {
  const service = serviceOf(name, ip, { type: 'NodePort', ports: [{ port: 80, nodePort: port, protocol: 'TCP' }] });
  return { ...service, metadata: { ...service.metadata, creationTimestamp } };
};

const CASES: Case[] = [
  {
    title: 'an IPv4 address in a slice of IPv6',
    family: 'IPv6',
    services: [serviceOf('ns/six', 'fd00:96::1')],
    slices: [sliceOf('ns/six', ['10.244.0.2', 'fd00:244::2'], { addressType: 'IPv6' })],
    left: { 'ns/six': ['fd00:96::1:80/TCP [fd00:244::2]:8080'] },
    problems: [['ns/six', 'InvalidEndpointSlice', /six-a: "10\.244\.0\.2" is no IPv6 address/]],
  },
  {
    title: 'addresses that no pod can have: loopback, link-local, multicast, a host name, none',
    services: [serviceOf('ns/a', '10.96.0.1')],
    slices: [
      sliceOf('ns/a', [
        ...['127.0.0.1', '169.254.169.254', '224.0.0.1', '0.0.0.0', 'db.example', '010.1.2.3'],
        '10.244.0.2',
      ]),
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP 10.244.0.2:8080'] },
    problems: Array.from({ length: 6 }, () => ['ns/a', 'InvalidEndpointSlice', /is left out/]),
  },
  {
    title: 'a slice without endpoints, ports, or with something else in their place',
    services: [serviceOf('ns/a', '10.96.0.1')],
    slices: [
      { ...sliceOf('ns/a', []), endpoints: null } as unknown as EndpointSlice,
      { ...sliceOf('ns/a', [], { suffix: 'b' }), ports: 'http' } as unknown as EndpointSlice,
      { ...sliceOf('ns/a', [], { suffix: 'c' }), endpoints: [null, { addresses: [] }, {}] } as unknown as EndpointSlice,
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP'] },
    problems: Array.from({ length: 3 }, () => ['ns/a', 'InvalidEndpointSlice', /undefined is no IPv4 address/]),
  },
  {
    title: 'ports of slices out of range, and twice',
    services: [serviceOf('ns/a', '10.96.0.1')],
    slices: [
      sliceOf('ns/a', ['10.244.0.2'], {
        ports: [
          { name: 'x', port: 70_000, protocol: 'TCP' },
          { name: '', port: 8080, protocol: 'TCP' },
          { name: '', port: 9090, protocol: 'TCP' },
        ],
      }),
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP 10.244.0.2:8080'] },
    problems: [
      ['ns/a', 'InvalidEndpointSlice', /port 70000: there is no such port/],
      ['ns/a', 'InvalidEndpointSlice', /port "\/TCP" is there twice/],
    ],
  },
  {
    title: 'ports of Services out of range, of no protocol, and twice',
    services: [
      broken(serviceOf('ns/a', '10.96.0.1'), {
        ports: [
          { name: 'zero', port: 0 },
          { name: 'half', port: 80.5 },
          { name: 'icmp', port: 80, protocol: 'ICMP' },
          { name: 'one', port: 80, nodePort: 99_999 },
          { name: 'two', port: 80 },
        ],
      }),
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP'] },
    problems: [
      ['ns/a', 'InvalidService', /port 0\/TCP/],
      ['ns/a', 'InvalidService', /port 80\.5\/TCP/],
      ['ns/a', 'InvalidService', /port 80\/ICMP/],
      ['ns/a', 'InvalidService', /node port 99999/],
      ['ns/a', 'InvalidService', /port 80\/TCP is there twice/],
    ],
  },
  {
    title: 'a node port that two Services have: the older keeps it, the other keeps the rest',
    services: [
      nodePort('ns/a', '10.96.0.1', 30080, '2026-01-02T00:00:00Z'),
      nodePort('ns/b', '10.96.0.2', 30080, '2026-01-01T00:00:00Z'),
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP'], 'ns/b': ['10.96.0.2:80/TCP node:30080'] },
    problems: [['ns/a', 'AddressInUse', /node port 30080\/TCP: it belongs to the Service ns\/b/]],
  },
  {
    title: 'a cluster IP that two Services have',
    services: [serviceOf('ns/a', '10.96.0.1'), serviceOf('ns/b', '10.96.0.1', { ports: [{ port: 80 }, { port: 81 }] })],
    left: { 'ns/a': ['10.96.0.1:80/TCP'], 'ns/b': ['10.96.0.1:81/TCP'] },
    problems: [['ns/b', 'AddressInUse', /cluster IP 10\.96\.0\.1, port 80\/TCP: it belongs to the Service ns\/a/]],
  },
  {
    title: 'CVE-2020-8554: an external IP, or a load balancer address, never takes a cluster IP, whoever came first',
    services: [
      serviceOf('evil/a', '10.96.0.66', { externalIPs: ['10.96.0.10', '198.51.100.1'] }),
      serviceOf('evil/b', '10.96.0.67', { type: 'LoadBalancer', ingress: [{ ip: '10.96.0.10' }] }),
      {
        ...serviceOf('kube-system/dns', '10.96.0.10'),
        metadata: { ...serviceOf('kube-system/dns', '').metadata, creationTimestamp: '2026-05-01T00:00:00Z' },
      },
    ],
    left: {
      'evil/a': ['10.96.0.66:80/TCP ext:198.51.100.1'],
      'evil/b': ['10.96.0.67:80/TCP'],
      'kube-system/dns': ['10.96.0.10:80/TCP'],
    },
    problems: [
      ['evil/a', 'AddressInUse', /external IP 10\.96\.0\.10, port 80\/TCP: it belongs to the Service kube-system\/dns/],
      ['evil/b', 'AddressInUse', /load balancer address 10\.96\.0\.10/],
    ],
  },
  {
    title: 'one address of a Service in two roles, or twice, is no problem',
    services: [
      serviceOf('ns/a', '10.96.0.1', {
        type: 'LoadBalancer',
        externalIPs: ['198.51.100.1', '198.51.100.1'],
        ingress: [{ ip: '198.51.100.2' }, { ip: '198.51.100.2' }],
      }),
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP ext:198.51.100.1 lb:198.51.100.2'] },
    problems: [],
  },
  {
    title: 'addresses that are none; those of the other family are nobody’s fault',
    services: [
      broken(serviceOf('ns/a', '10.96.0.1'), { externalIPs: ['nonsense', 'fd00::1', ' 198.51.100.1 ', '127.0.0.1'] }),
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP ext:198.51.100.1'] },
    problems: [
      ['ns/a', 'InvalidService', /spec\.externalIPs: "nonsense" is no IP address/],
      ['ns/a', 'ExternalIPNotAllowed', /127\.0\.0\.1 is not served/],
    ],
  },
  {
    title: 'source ranges of which none can be read close the load balancer; one that can be read admits its block',
    services: [
      serviceOf('ns/a', '10.96.0.1', {
        type: 'LoadBalancer',
        ingress: [{ ip: '198.51.100.1' }],
        loadBalancerSourceRanges: ['10.0.0.0/33'],
      }),
      serviceOf('ns/b', '10.96.0.2', {
        type: 'LoadBalancer',
        ingress: [{ ip: '198.51.100.2' }],
        loadBalancerSourceRanges: ['all', '10.0.0.0/8'],
      }),
    ],
    left: { 'ns/a': ['10.96.0.1:80/TCP'], 'ns/b': ['10.96.0.2:80/TCP lb:198.51.100.2'] },
    problems: [
      ['ns/a', 'InvalidService', /"10\.0\.0\.0\/33" is no CIDR/],
      ['ns/b', 'InvalidService', /"all" is no CIDR/],
    ],
  },
  {
    title: 'names of maximal length, a Service half deleted, a Service without ports, affinity of no time',
    services: [
      serviceOf(`${LONG}/${LONG}`, '10.96.0.1', { ports: [{ name: 'p'.repeat(15), port: 80 }] as never }),
      {
        ...serviceOf('ns/leaving', '10.96.0.2'),
        metadata: {
          ...serviceOf('ns/leaving', '').metadata,
          deletionTimestamp: '2026-01-01T00:00:00Z',
          finalizers: ['service.kubernetes.io/load-balancer-cleanup'],
        },
      },
      broken(serviceOf('ns/empty', '10.96.0.3'), { ports: null }),
      broken(serviceOf('ns/sticky', '10.96.0.4'), {
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } },
      }),
    ],
    left: {
      [`${LONG}/${LONG}`]: ['10.96.0.1:80/TCP'],
      'ns/leaving': ['10.96.0.2:80/TCP'],
      'ns/sticky': ['10.96.0.4:80/TCP'],
    },
    problems: [],
  },
];

for (const { title, family = 'IPv4', services, slices = [], left, problems } of CASES)
  test(`bad input: ${title}`, (t) => {
    const isSix = family === 'IPv6';
    for (const order of [services, services.toReversed()]) {
      const tracker = create(family);
      for (const service of [...order, ...(isSix ? [] : [GOOD])]) tracker.setService(service);
      for (const slice of [...slices, GOOD_SLICE]) tracker.setSlice(slice);
      const taken = tracker.take();
      t.deepEqual(render(taken.snapshot), { ...left, ...(isSix ? {} : GOOD_LEFT) });
      const found = [...taken.problems].flatMap(([service, all]) => all.map((problem) => ({ service, ...problem })));
      t.is(found.length, problems.length, JSON.stringify(found));
      for (const [service, reason, message] of problems)
        t.true(
          found.some((one) => one.service === service && one.reason === reason && message.test(one.message)),
          `${message} in ${JSON.stringify(found)}`,
        );
    }
  });

test('who waited for an address gets it when its holder goes, and only the two are dirty', (t) => {
  const tracker = create();
  for (const service of [nodePort('ns/a', '10.96.0.1', 30080), nodePort('ns/b', '10.96.0.2', 30080), GOOD])
    tracker.setService(service);
  tracker.take();
  tracker.deleteService('ns/a');
  const { dirty, snapshot, problems } = tracker.take();
  t.deepEqual([...dirty].sort(), ['ns/a', 'ns/b']);
  t.deepEqual(render(snapshot)['ns/b'], ['10.96.0.2:80/TCP node:30080']);
  t.deepEqual(problems.get('ns/b'), []);
});

test('CVE-2020-8554: external IPs of blocks that are not allowed, and of pods, are left out', (t) => {
  const tracker = create('IPv4', { allowed: ['198.51.100.0/24', 'fd00::/8'], forbidden: ['10.244.0.0/16'] });
  tracker.setService(serviceOf('ns/a', '10.96.0.1', { externalIPs: ['198.51.100.1', '203.0.113.1', '10.244.0.2'] }));
  const { snapshot, problems } = tracker.take();
  t.deepEqual(render(snapshot)['ns/a'], ['10.96.0.1:80/TCP ext:198.51.100.1']);
  t.deepEqual(
    problems.get('ns/a')?.map(({ reason }) => reason),
    ['ExternalIPNotAllowed', 'ExternalIPNotAllowed'],
  );
});

test('a node port on which a process listens is left to it, until it ends', async (t) => {
  const tracker = create();
  const listening = { TCP: new Set([30080, 22]), UDP: new Set<number>() };
  let looks = 0;
  const guard = createNodePortGuard({
    async listeningPorts(protocol) {
      looks++;
      return listening[protocol];
    },
    log: silentLogger,
  });
  const take = async () => {
    tracker.setBusyNodePorts(await guard.look(tracker.nodePorts()));
    return tracker.take();
  };
  tracker.setService(nodePort('ns/a', '10.96.0.1', 30080));
  tracker.setService(nodePort('ns/b', '10.96.0.2', 30081));
  const first = await take();
  t.deepEqual(render(first.snapshot), { 'ns/a': ['10.96.0.1:80/TCP'], 'ns/b': ['10.96.0.2:80/TCP node:30081'] });
  t.regex(first.problems.get('ns/a')![0]!.message, /node port 30080\/TCP: a process of this node listens on it/);
  t.true(guard.hasBusy());
  listening.TCP = new Set([22, 30081]);
  const second = await take();
  t.deepEqual([...second.dirty], ['ns/a']);
  t.deepEqual(render(second.snapshot)['ns/b'], ['10.96.0.2:80/TCP node:30081'], 'who came later does not get it');
  looks = 0;
  tracker.setSlice(GOOD_SLICE);
  await take();
  t.is(looks, 0, 'without a new node port nobody looks');
  tracker.deleteService('ns/b');
  await take();
  tracker.setService(nodePort('ns/b', '10.96.0.2', 30081));
  t.deepEqual(render((await take()).snapshot)['ns/b'], ['10.96.0.2:80/TCP']);
  t.false(tracker.nodePorts().has(nodePortKey('TCP', 30079)));
});

test('each problem is told once, and again when it comes back; the metric follows', (t) => {
  const told: string[] = [];
  const counts = new Map<string, number>();
  const problems = createProblemLog({
    log: silentLogger,
    warn: ({ namespace, name }, reason, message) => told.push(`${namespace}/${name} ${reason} ${message}`),
    setCount: (family, reason, count) => counts.set(`${family} ${reason}`, count),
  });
  const one: Problem = { reason: 'InvalidService', message: 'x' };
  problems.update('IPv4', new Map([['ns/a', [one]]]));
  problems.update('IPv4', new Map([['ns/a', [one]]]));
  problems.update('IPv6', new Map([['ns/a', [one]]]));
  t.deepEqual(told.splice(0), ['ns/a InvalidService x']);
  t.deepEqual(
    [...counts],
    [
      ['IPv4 InvalidService', 1],
      ['IPv6 InvalidService', 1],
    ],
  );
  for (const family of ['IPv4', 'IPv6'] as const) problems.update(family, new Map([['ns/a', []]]));
  t.is(counts.get('IPv4 InvalidService'), 0);
  problems.update('IPv4', new Map([['ns/a', [one]]]));
  t.is(told.length, 1);
  told.length = 0;
  const many = Array.from(
    { length: 1000 },
    (_, index): Problem => ({ reason: 'InvalidEndpointSlice', message: `${index}` }),
  );
  problems.update('IPv4', new Map([['ns/b', many]]));
  t.deepEqual([told.length, told[4]], [5, 'ns/b InvalidEndpointSlice 4 (and 995 more)']);
});
