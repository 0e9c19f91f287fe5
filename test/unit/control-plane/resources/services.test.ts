import test from 'ava';
import {
  createServiceAllocator,
  type ServiceAllocator,
} from '../../../../control-plane/resources/allocation/service-allocator.ts';
import { defineServices } from '../../../../control-plane/resources/services.ts';
import type { Service, ServiceSpec } from '../../../../src/kube/types.ts';
import { errorTexts, meta, NOW_MS, strategyContext } from '../../../support/strategy-context.ts';

const makeAllocator = () => createServiceAllocator({ serviceCidrs: ['10.96.0.0/12'], random: () => 0 });
const makeService = (spec: ServiceSpec, name = 's'): Service => ({ metadata: meta(name), spec: structuredClone(spec) });
const http: ServiceSpec = { ports: [{ port: 80 }] };

interface Bench {
  allocator: ServiceAllocator;
  create(spec: ServiceSpec, name?: string): Promise<Service>;
  update(old: Service, change: (spec: ServiceSpec) => void): Promise<Service>;
  problems(spec: ServiceSpec): Promise<string[]>;
  updateProblems(old: Service, change: (spec: ServiceSpec) => void): Promise<string[]>;
}

/** The generic layer in small: defaults, strategy, validation, allocation. */
function bench(allocator = makeAllocator()): Bench {
  const definition = defineServices(allocator);
  const context = strategyContext();
  async function prepared(service: Service): Promise<Service> {
    definition.applyDefaults(service);
    await definition.prepareForCreate(service, context);
    return service;
  }
  async function changed(old: Service, change: (spec: ServiceSpec) => void): Promise<Service> {
    const service = structuredClone(old);
    change(service.spec);
    definition.applyDefaults(service);
    await definition.prepareForUpdate(service, old, context);
    return service;
  }
  const allProblems = (service: Service, old: Service) =>
    errorTexts([...definition.validate(service), ...definition.validateUpdate(service, old)]);
  return {
    allocator,
    async create(spec, name) {
      const service = await prepared(makeService(spec, name));
      const problems = errorTexts(definition.validate(service));
      if (problems.length > 0) throw new Error(problems.join());
      const hold = await definition.begin!(service, undefined, context);
      hold?.finish(true);
      return service;
    },
    async update(old, change) {
      const service = await changed(old, change);
      const problems = allProblems(service, old);
      if (problems.length > 0) throw new Error(problems.join());
      const hold = await definition.begin!(service, old, context);
      hold?.finish(true);
      return service;
    },
    problems: async (spec) => errorTexts(definition.validate(await prepared(makeService(spec)))),
    updateProblems: async (old, change) => allProblems(await changed(old, change), old),
  };
}

test('a plain Service', async (t) => {
  const service = await bench().create(http);
  t.deepEqual(JSON.parse(JSON.stringify(service)), {
    metadata: meta('s'),
    spec: {
      type: 'ClusterIP',
      sessionAffinity: 'None',
      internalTrafficPolicy: 'Cluster',
      ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }],
      clusterIP: '10.96.1.1',
      clusterIPs: ['10.96.1.1'],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
    },
    status: { loadBalancer: {} },
  });
});

test('headless and ExternalName have no address', async (t) => {
  const { create } = bench();
  const headless = await create({ clusterIP: 'None' });
  t.deepEqual([headless.spec.clusterIP, headless.spec.clusterIPs], ['None', ['None']]);
  const alias = await create({ type: 'ExternalName', externalName: 'db.example.com' });
  t.deepEqual(
    [alias.spec.clusterIP, alias.spec.ipFamilies, alias.spec.internalTrafficPolicy],
    [undefined, undefined, undefined],
  );
});

test('node ports: asked for, given, shared by protocols of one port', async (t) => {
  const { create } = bench();
  const asked = await create({ type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] });
  t.is(asked.spec.ports?.[0]?.nodePort, 30080);
  t.is(asked.spec.externalTrafficPolicy, 'Cluster');
  const dns = await create({
    type: 'NodePort',
    ports: [
      { name: 'tcp', port: 53, protocol: 'TCP' },
      { name: 'udp', port: 53, protocol: 'UDP' },
    ],
  });
  t.deepEqual(
    dns.spec.ports?.map(({ nodePort }) => nodePort),
    [30086, 30086],
  );
});

test('a load balancer with local traffic gets a health check port', async (t) => {
  const service = await bench().create({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: [{ port: 80 }] });
  t.is(service.spec.allocateLoadBalancerNodePorts, true);
  t.is(service.spec.ports?.[0]?.nodePort, 30086);
  t.is(service.spec.healthCheckNodePort, 30087);
});

test('what is taken is refused, and nothing leaks', async (t) => {
  const { create, allocator } = bench();
  await create({ ...http, clusterIP: '10.96.0.10' });
  t.is(
    (await t.throwsAsync(create({ ...http, clusterIP: '10.96.0.10' }))).message,
    'Service "s" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated',
  );
  await create({ type: 'NodePort', ports: [{ port: 80, nodePort: 30000 }] });
  t.is(
    (await t.throwsAsync(create({ type: 'NodePort', clusterIP: '10.96.0.99', ports: [{ port: 80, nodePort: 30000 }] })))
      .message,
    'Service "s" is invalid: spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated',
  );
  t.is(allocator.takeAddress('10.96.0.99'), '10.96.0.99');
  t.is(
    (await t.throwsAsync(create({ ...http, clusterIP: '192.168.0.1' }))).message,
    'Service "s" is invalid: spec.clusterIPs: Invalid value: ["192.168.0.1"]: failed to allocate IP 192.168.0.1: the provided IP (192.168.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12',
  );
});

test('a write that is not stored gives back what it took', async (t) => {
  const allocator = makeAllocator();
  const definition = defineServices(allocator);
  const service = makeService({ type: 'NodePort', clusterIP: '10.96.0.10', ports: [{ port: 80, nodePort: 30001 }] });
  definition.applyDefaults(service);
  await definition.prepareForCreate(service, strategyContext());
  const hold = await definition.begin!(service, undefined, strategyContext());
  hold?.finish(false);
  t.is(allocator.takeAddress('10.96.0.10'), '10.96.0.10');
  t.is(allocator.takePort(30001), 30001);
});

test('a deleted Service gives back what it had', async (t) => {
  const { create, allocator } = bench();
  const service = await create({ type: 'NodePort', ports: [{ port: 80 }] });
  defineServices(allocator).deleted!(service);
  t.notThrows(() => allocator.takeAddress(service.spec.clusterIP!));
  t.notThrows(() => allocator.takePort(service.spec.ports?.[0]?.nodePort));
});

test('type changes: ClusterIP → NodePort → ClusterIP → ExternalName → ClusterIP', async (t) => {
  const { create, update, allocator } = bench();
  const plain = await create(http);
  const onNodes = await update(plain, (spec) => {
    spec.type = 'NodePort';
  });
  const port = onNodes.spec.ports?.[0]?.nodePort;
  t.is(port, 30086);
  t.is(onNodes.spec.clusterIP, plain.spec.clusterIP);
  const back = await update(onNodes, (spec) => {
    spec.type = 'ClusterIP';
  });
  t.is(back.spec.ports?.[0]?.nodePort, undefined);
  t.is(back.spec.externalTrafficPolicy, undefined);
  t.is(allocator.takePort(port), port!);
  const alias = await update(back, (spec) => {
    spec.type = 'ExternalName';
    spec.externalName = 'example.com';
  });
  t.deepEqual([alias.spec.clusterIP, alias.spec.clusterIPs, alias.spec.ipFamilies], [undefined, undefined, undefined]);
  t.is(allocator.takeAddress(plain.spec.clusterIP!), plain.spec.clusterIP!);
  allocator.releaseAddress(plain.spec.clusterIP!);
  const again = await update(alias, (spec) => {
    spec.type = 'ClusterIP';
    delete spec.externalName;
  });
  t.truthy(again.spec.clusterIP);
});

test('a PUT without what was allocated keeps it', async (t) => {
  const { create, update } = bench();
  const service = await create({ type: 'NodePort', ports: [{ port: 80 }] });
  const put = await update(service, (spec) => {
    delete spec.clusterIP;
    delete spec.clusterIPs;
    delete spec.ports![0]!.nodePort;
    spec.selector = { app: 'x' };
  });
  t.is(put.spec.clusterIP, service.spec.clusterIP);
  t.deepEqual(put.spec.clusterIPs, service.spec.clusterIPs);
  t.is(put.spec.ports?.[0]?.nodePort, service.spec.ports?.[0]?.nodePort);
});

test('addresses may not change', async (t) => {
  const { create, updateProblems } = bench();
  const service = await create(http);
  t.deepEqual(
    await updateProblems(service, (spec) => {
      spec.clusterIP = '10.96.9.9';
      spec.clusterIPs = ['10.96.9.9'];
    }),
    ['spec.clusterIPs[0]: Invalid value: ["10.96.9.9"]: may not change once set'],
  );
});

const cases: [string, ServiceSpec, string[]][] = [
  ['no ports', {}, ['spec.ports: Required value']],
  [
    'an unknown type',
    { ...http, type: 'Magic' as never },
    [
      'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
    ],
  ],
  ['nameless ports', { ports: [{ port: 1 }, { port: 2, name: 'b' }] }, ['spec.ports[0].name: Required value']],
  [
    'port 0',
    { ports: [{ port: 0, targetPort: 80 }] },
    ['spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive'],
  ],
  [
    'twice the same port',
    {
      ports: [
        { port: 1, name: 'a' },
        { port: 1, name: 'b' },
      ],
    },
    ['spec.ports[1]: Duplicate value: {"protocol":"TCP","port":1}'],
  ],
  [
    'a node port of a ClusterIP',
    { ports: [{ port: 1, nodePort: 30000 }] },
    ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
  ],
  [
    'a headless NodePort',
    { ...http, type: 'NodePort', clusterIP: 'None' },
    ['spec.clusterIPs[0]: Invalid value: "None": may not be set to \'None\' for NodePort services'],
  ],
  ['an alias of nothing', { type: 'ExternalName' }, ['spec.externalName: Required value']],
  [
    'an address that is none',
    { ...http, clusterIP: 'x' },
    ['spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
  ],
  [
    'an external loopback address',
    { ...http, externalIPs: ['127.0.0.1'] },
    ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
  ],
  [
    'affinity for too long',
    { ...http, sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 86401 } } },
    [
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400',
    ],
  ],
  [
    'an external policy inside',
    { ...http, externalTrafficPolicy: 'Local' },
    ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
  ],
  [
    'another family',
    { ...http, ipFamilies: ['IPv6'] },
    ['spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
  ],
  [
    'two families',
    { ...http, ipFamilyPolicy: 'RequireDualStack' },
    ['spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'],
  ],
];
for (const [what, spec, expected] of cases)
  test(`a Service with ${what}`, async (t) => {
    t.deepEqual(await bench().problems(spec), expected);
  });

const rows: [string, Service['spec'], Service['status'], (string | null)[]][] = [
  [
    'ClusterIP',
    {
      type: 'ClusterIP',
      clusterIP: '10.96.0.1',
      ports: [{ port: 443, protocol: 'TCP' }],
      selector: { b: '2', a: '1' },
    },
    {},
    ['s', 'ClusterIP', '10.96.0.1', '<none>', '443/TCP', '5s', 'a=1,b=2'],
  ],
  [
    'NodePort',
    { type: 'NodePort', clusterIP: '10.96.0.2', ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }] },
    {},
    ['s', 'NodePort', '10.96.0.2', '<none>', '80:30080/TCP', '5s', '<none>'],
  ],
  [
    'waiting LoadBalancer',
    { type: 'LoadBalancer', clusterIP: '10.96.0.3' },
    {},
    ['s', 'LoadBalancer', '10.96.0.3', '<pending>', '<none>', '5s', '<none>'],
  ],
  [
    'LoadBalancer',
    { type: 'LoadBalancer', clusterIP: '10.96.0.3', externalIPs: ['9.9.9.9'] },
    { loadBalancer: { ingress: [{ ip: '1.2.3.4' }, { hostname: 'lb' }] } },
    ['s', 'LoadBalancer', '10.96.0.3', '1.2.3.4,lb,9.9.9.9', '<none>', '5s', '<none>'],
  ],
  [
    'ExternalName',
    { type: 'ExternalName', externalName: 'x.y' },
    {},
    ['s', 'ExternalName', '<none>', 'x.y', '<none>', '5s', '<none>'],
  ],
];
for (const [what, spec, status, cells] of rows)
  test(`columns of a ${what}`, (t) => {
    const service = { metadata: meta('s', { creationTimestamp: '2026-01-02T03:04:00Z' }), spec, status };
    t.deepEqual(
      defineServices(makeAllocator()).columns.map((one) => one.cell(service, NOW_MS)),
      cells,
    );
  });
