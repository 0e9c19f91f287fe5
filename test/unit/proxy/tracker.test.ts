import test from 'ava';
import { createChangeTracker } from '../../../proxy/state/tracker.ts';
import { NODE_NAME, serviceOf, sliceOf } from '../../support/proxy.ts';

const create = () => createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
const endpointsOf = (tracker: ReturnType<typeof create>, name = 'ns/a') =>
  tracker.take().snapshot.services.get(name)?.ports[0]?.endpoints;

test('a service and its slices become one state; taking again finds nothing dirty', (t) => {
  const tracker = create();
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.2']));
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  const first = tracker.take();
  t.deepEqual([...first.dirty], ['ns/a']);
  t.is(first.snapshot.services.get('ns/a')?.ports[0]?.endpoints[0]?.address, '10.244.0.2:8080');
  t.deepEqual([...tracker.take().dirty], []);
});

test('an event that changes nothing that matters is not dirty, and the state stays the same object', (t) => {
  const tracker = create();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  const before = tracker.take().snapshot;
  tracker.setService({
    ...serviceOf('ns/a', '10.96.0.1'),
    metadata: { ...serviceOf('ns/a', '10.96.0.1').metadata, annotations: { x: 'y' } },
  });
  const { snapshot, dirty } = tracker.take();
  t.is(dirty.size, 0);
  t.is(snapshot.services.get('ns/a'), before.services.get('ns/a'));
});

test('a snapshot that was handed out never changes', (t) => {
  const tracker = create();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  const { snapshot } = tracker.take();
  tracker.deleteService('ns/a');
  const later = tracker.take();
  t.true(snapshot.services.has('ns/a'));
  t.false(later.snapshot.services.has('ns/a'));
  t.deepEqual([...later.dirty], ['ns/a']);
});

test('services come sorted, whenever they came', (t) => {
  const tracker = create();
  for (const [index, name] of ['ns/b', 'ns/c', 'ns/a'].entries())
    tracker.setService(serviceOf(name, `10.96.0.${index}`));
  t.deepEqual([...tracker.take().snapshot.services.keys()], ['ns/a', 'ns/b', 'ns/c']);
});

test('headless, ExternalName, other proxies and other families are left out; a label that comes later removes', (t) => {
  const tracker = create();
  tracker.setService(serviceOf('ns/headless', 'None'));
  tracker.setService(serviceOf('ns/external', '', { type: 'ExternalName' }));
  tracker.setService(serviceOf('ns/labelled', '10.96.0.2', { labels: { 'service.kubernetes.io/headless': '' } }));
  tracker.setService(serviceOf('ns/six', 'fd00::1'));
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  t.deepEqual([...tracker.take().snapshot.services.keys()], ['ns/a']);
  tracker.setService(
    serviceOf('ns/a', '10.96.0.1', { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } }),
  );
  t.deepEqual([...tracker.take().snapshot.services.keys()], []);
});

test('all slices of a service are merged; the entry that is ready wins, in whichever slice it stands', (t) => {
  for (const [first, second] of [
    ['a', 'b'],
    ['b', 'a'],
  ]) {
    const tracker = create();
    tracker.setService(serviceOf('ns/a', '10.96.0.1'));
    tracker.setSlice(sliceOf('ns/a', ['10.244.0.2', '10.244.0.3'], { suffix: first }));
    const leaving = { ip: '10.244.0.2', conditions: { ready: false, serving: true, terminating: true } };
    tracker.setSlice(sliceOf('ns/a', [leaving], { suffix: second }));
    const endpoints = endpointsOf(tracker);
    t.deepEqual(
      endpoints?.map(({ address, isReady }) => [address, isReady]),
      [
        ['10.244.0.2:8080', true],
        ['10.244.0.3:8080', true],
      ],
    );
  }
});

test('conditions that are absent have their documented meaning', (t) => {
  const tracker = create();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  tracker.setSlice(
    sliceOf('ns/a', [
      { ip: '10.244.0.2', conditions: {} },
      { ip: '10.244.0.3', conditions: { ready: false } },
    ]),
  );
  t.like(endpointsOf(tracker), [
    { isReady: true, isServing: true, isTerminating: false },
    { isReady: false, isServing: false, isTerminating: false },
  ]);
});

test('a slice of another address type, a port without number and an FQDN are passed over', (t) => {
  const tracker = create();
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  tracker.setSlice(sliceOf('ns/a', ['fd00::2'], { suffix: 'v6', addressType: 'IPv6' }));
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.2'], { suffix: 'noport', ports: [{ name: '', protocol: 'TCP' }] }));
  t.deepEqual(endpointsOf(tracker), []);
});

test('removing one slice keeps the others; endpoints without a service make no service', (t) => {
  const tracker = create();
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.2'], { suffix: 'x' }));
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.3'], { suffix: 'y' }));
  t.is(tracker.take().snapshot.services.size, 0);
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  tracker.deleteSlice(sliceOf('ns/a', [], { suffix: 'x' }));
  t.deepEqual(
    endpointsOf(tracker)?.map(({ ip }) => ip),
    ['10.244.0.3'],
  );
});

test('trigger times are told once, for services that changed', (t) => {
  const tracker = create();
  const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:05Z' };
  tracker.setService(serviceOf('ns/a', '10.96.0.1'));
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.2'], { annotations }));
  tracker.setSlice(sliceOf('ns/orphan', ['10.244.0.2'], { annotations }));
  t.deepEqual(tracker.take().triggerTimesMs, [Date.parse('2026-01-01T00:00:05Z')]);
  t.deepEqual(tracker.take().triggerTimesMs, []);
});

test('affinity has its default time; a range of all addresses is no range', (t) => {
  const tracker = create();
  tracker.setService(
    serviceOf('ns/a', '10.96.0.1', {
      sessionAffinity: 'ClientIP',
      loadBalancerSourceRanges: ['10.0.0.0/8', '0.0.0.0/0'],
    }),
  );
  t.like(tracker.take().snapshot.services.get('ns/a')?.ports[0]?.port, {
    affinitySeconds: 10800,
    loadBalancerSourceRanges: [],
  });
});
