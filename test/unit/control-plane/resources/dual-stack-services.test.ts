/** Families of Services: what upstream's own table of KEP-563 says, on clusters of one and of two families. */
import test from 'ava';
import { createServiceAllocator } from '../../../../control-plane/resources/allocation/service-allocator.ts';
import { defineServices } from '../../../../control-plane/resources/services.ts';
import type { Service, ServiceSpec } from '../../../../src/kube/types.ts';
import { errorTexts, meta, strategyContext } from '../../../support/strategy-context.ts';

const V4 = '10.96.0.0/16';
const V6 = 'fd00:96::/112';
const context = strategyContext();

function cluster(...serviceCidrs: string[]) {
  const allocator = createServiceAllocator({ serviceCidrs, random: () => 0 });
  const definition = defineServices(allocator);
  async function store(service: Service, old: Service | undefined, problems: readonly string[]) {
    if (problems.length > 0) throw new Error(problems.join('; '));
    (await definition.begin!(service, old, context))?.finish(true);
    return service;
  }
  return {
    allocator,
    async create(spec: ServiceSpec) {
      const service: Service = { metadata: meta('s'), spec: structuredClone({ selector: { a: 'b' }, ...spec }) };
      definition.applyDefaults(service);
      await definition.prepareForCreate(service, context);
      return store(service, undefined, errorTexts(definition.validate(service)));
    },
    async update(old: Service, change: (spec: ServiceSpec) => void) {
      const service = structuredClone(old);
      change(service.spec);
      definition.applyDefaults(service);
      await definition.prepareForUpdate(service, old, context);
      const problems = [...definition.validate(service), ...definition.validateUpdate(service, old)];
      return store(service, old, errorTexts(problems));
    },
  };
}

const http: ServiceSpec = { ports: [{ port: 80 }] };
const facts = ({ spec }: Service) => [spec.ipFamilyPolicy, spec.ipFamilies, spec.clusterIPs];

const created: [title: string, cidrs: string[], spec: ServiceSpec, expected: unknown[]][] = [
  ['nothing said, two families: one', [V4, V6], {}, ['SingleStack', ['IPv4'], ['10.96.1.1']]],
  ['the default family is the first range’s', [V6, V4], {}, ['SingleStack', ['IPv6'], ['fd00:96::101']]],
  ['IPv6 alone', [V4, V6], { ipFamilies: ['IPv6'] }, ['SingleStack', ['IPv6'], ['fd00:96::101']]],
  [
    'prefers two',
    [V4, V6],
    { ipFamilyPolicy: 'PreferDualStack' },
    ['PreferDualStack', ['IPv4', 'IPv6'], ['10.96.1.1', 'fd00:96::101']],
  ],
  ['prefers two, has one', [V4], { ipFamilyPolicy: 'PreferDualStack' }, ['PreferDualStack', ['IPv4'], ['10.96.1.1']]],
  [
    'requires two, IPv6 first',
    [V4, V6],
    { ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6'] },
    ['RequireDualStack', ['IPv6', 'IPv4'], ['fd00:96::101', '10.96.1.1']],
  ],
  [
    'families follow addresses',
    [V4, V6],
    { ipFamilyPolicy: 'PreferDualStack', clusterIP: 'fd00:96::7' },
    ['PreferDualStack', ['IPv6', 'IPv4'], ['fd00:96::7', '10.96.1.1']],
  ],
  [
    'headless, with pods',
    [V4, V6],
    { clusterIP: 'None', ipFamilyPolicy: 'PreferDualStack' },
    ['PreferDualStack', ['IPv4', 'IPv6'], ['None']],
  ],
  [
    'headless, endpoints by hand: both, whatever the cluster has',
    [V4],
    { clusterIP: 'None', selector: {} },
    ['RequireDualStack', ['IPv4', 'IPv6'], ['None']],
  ],
];
for (const [title, cidrs, spec, expected] of created)
  test(`created: ${title}`, async (t) => {
    t.deepEqual(facts(await cluster(...cidrs).create({ ...http, ...spec })), expected);
  });

const refused: [title: string, cidrs: string[], spec: ServiceSpec, why: RegExp][] = [
  ['two required of one', [V4], { ipFamilyPolicy: 'RequireDualStack' }, /not configured for dual-stack services/],
  ['a family that is not there', [V4], { ipFamilies: ['IPv6'] }, /ipFamilies\[0\].*not configured on this cluster/],
  ['an address of such a family', [V4], { clusterIP: 'fd00:96::7' }, /clusterIPs\[0\].*IPv6 is not configured/],
  [
    'two addresses of one stack',
    [V4, V6],
    { ipFamilyPolicy: 'SingleStack', clusterIP: '10.96.0.9', clusterIPs: ['10.96.0.9', 'fd00:96::9'] },
    /must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs/,
  ],
];
for (const [title, cidrs, spec, why] of refused)
  test(`refused: ${title}`, async (t) => {
    await t.throwsAsync(cluster(...cidrs).create({ ...http, ...spec }), { message: why });
  });

test('from one stack to two and back; the second address is free again', async (t) => {
  const { create, update, allocator } = cluster(V4, V6);
  const single = await create(http);
  const dual = await update(single, (spec) => {
    spec.ipFamilyPolicy = 'RequireDualStack';
  });
  t.deepEqual(facts(dual), ['RequireDualStack', ['IPv4', 'IPv6'], ['10.96.1.1', 'fd00:96::101']]);
  await t.throwsAsync(
    update(dual, (spec) => {
      spec.clusterIPs = [spec.clusterIP!];
    }),
    { message: /must be 'SingleStack' to release the secondary cluster IP/ },
  );
  await t.throwsAsync(
    update(dual, (spec) => {
      spec.ipFamilies = ['IPv6', 'IPv4'];
    }),
    { message: /spec\.ipFamilies\[0\].*may not change once set/ },
  );
  t.throws(() => allocator.takeAddress('fd00:96::101'));
  const back = await update(dual, (spec) => {
    spec.ipFamilyPolicy = 'SingleStack';
  });
  t.deepEqual(facts(back), ['SingleStack', ['IPv4'], ['10.96.1.1']]);
  t.is(allocator.takeAddress('fd00:96::101'), 'fd00:96::101');
});

test('who prefers two and has one keeps it when the cluster becomes dual-stack, until asked', async (t) => {
  const before = await cluster(V4).create({ ...http, ipFamilyPolicy: 'PreferDualStack' });
  const { update, allocator } = cluster(V4, V6);
  allocator.restore([before]);
  const touched = await update(before, (spec) => {
    spec.sessionAffinity = 'ClientIP';
  });
  t.deepEqual(facts(touched), ['PreferDualStack', ['IPv4'], ['10.96.1.1']]);
  const asked = await update(touched, (spec) => {
    spec.ipFamilies = ['IPv4', 'IPv6'];
  });
  t.deepEqual(facts(asked), ['PreferDualStack', ['IPv4', 'IPv6'], ['10.96.1.1', 'fd00:96::101']]);
});

test('ranges: one of a family', (t) => {
  t.throws(() => cluster(V4, '10.97.0.0/16'), { message: /one of each address family/ });
});
