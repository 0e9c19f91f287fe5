import test, { type ExecutionContext } from 'ava';
import { createFamilySync } from '../../../proxy/family-sync.ts';
import { feedTrackers } from '../../../proxy/feed.ts';
import { createIptablesProxier } from '../../../proxy/iptables/proxier.ts';
import type { NodeRenderOptions, Proxier } from '../../../proxy/mode.ts';
import { createChangeTracker } from '../../../proxy/state/tracker.ts';
import { LockedError } from '../../../src/netfilter/xtables-lock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../fakes/clock.ts';
import { createFakeIptables } from '../../fakes/iptables.ts';
import { NODE_NAME, NODE_OPTIONS, serviceOf, sliceOf } from '../../support/proxy.ts';
import { createSources } from '../../support/proxy-world.ts';

const HOUR_MS = 3_600_000;

function start(t: ExecutionContext, extra: Partial<Proxier> = {}) {
  const clock = createFakeClock();
  const iptables = createFakeIptables();
  const tracker = createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
  const events: string[] = [];
  const state: { node: NodeRenderOptions; triggers: number[] } = { node: NODE_OPTIONS, triggers: [] };
  const sync = createFamilySync({
    family: 'IPv4',
    tracker,
    proxier: { ...createIptablesProxier(iptables), ...extra },
    clock,
    log: silentLogger,
    minSyncPeriodMs: 1000,
    syncPeriodMs: 30_000,
    maxIntervalMs: HOUR_MS,
    nodeOptions: () => state.node,
    async onSynced({ report, triggerTimesMs }) {
      events.push(`${report.kind}${report.wrote ? ' wrote' : ''}`);
      state.triggers.push(...triggerTimesMs);
    },
    onFailed: (kind) => events.push(`${kind} failed`),
    beat: () => {},
  });
  const controller = new AbortController();
  const done = sync.run(controller.signal);
  t.teardown(async () => {
    controller.abort();
    await done;
  });
  /** What has happened since the last call. */
  const seen = async (advanceMs = 0) => {
    await clock.advance(advanceMs);
    await settle(30);
    return events.splice(0);
  };
  let count = 0;
  const change = () => {
    tracker.setService(serviceOf(`ns/svc-${++count}`, `10.96.0.${count}`));
    sync.request();
  };
  return { clock, iptables, tracker, sync, state, seen, change };
}

test('nothing happens before the first request; then the first sync is immediate and full', async (t) => {
  const { seen, change } = start(t);
  t.deepEqual(await seen(HOUR_MS), []);
  change();
  t.deepEqual(await seen(), ['full wrote']);
});

test('after idleness a change is immediate; changes in quick succession are one sync a second', async (t) => {
  const { seen, change } = start(t);
  change();
  await seen(5000);
  change();
  t.deepEqual(await seen(), ['partial wrote']);
  change();
  change();
  t.deepEqual(await seen(900), []);
  change();
  t.deepEqual(await seen(100), ['partial wrote']);
  t.deepEqual(await seen(5000), []);
});

test('a failure is tried again after the sync period, in full, and loses neither changes nor trigger times', async (t) => {
  const { seen, change, iptables, tracker, sync, state } = start(t);
  change();
  await seen(5000);
  tracker.setService(serviceOf('ns/a', '10.96.0.99'));
  const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:01Z' };
  tracker.setSlice(sliceOf('ns/a', ['10.244.0.2'], { annotations }));
  iptables.failNext(new Error('busy'));
  sync.request();
  t.deepEqual(await seen(), ['partial failed']);
  t.deepEqual(state.triggers, []);
  t.deepEqual(await seen(29_000), []);
  t.deepEqual(await seen(1000), ['full wrote']);
  t.deepEqual(state.triggers, [Date.parse('2026-01-01T00:00:01Z')]);
  t.regex(iptables.restored.at(-1)!, /ns\/a cluster IP/);
});

test('R10: while another program holds the lock, the sync is tried again every second, in full, and loses nothing', async (t) => {
  const { seen, change, iptables } = start(t);
  change();
  await seen(5000);
  change();
  iptables.failNext(new LockedError('held by flock (pid 7)'));
  t.deepEqual(await seen(), ['partial failed']);
  for (let count = 0; count < 2; count++) {
    change();
    iptables.failNext(new LockedError('held by flock (pid 7)'));
    t.deepEqual(await seen(1000), ['full failed']);
  }
  t.deepEqual(await seen(1000), ['full wrote']);
  const services = (await iptables.save('filter')).get('filter')!.get('KUBE-SERVICES')!;
  for (const name of ['ns/svc-2', 'ns/svc-3', 'ns/svc-4'])
    t.true(
      services.rules.some((rule) => rule.includes(`${name} has no endpoints`)),
      name,
    );
});

test('once an hour everything is compared with the kernel; what somebody broke comes back', async (t) => {
  const { seen, change, iptables } = start(t);
  change();
  await seen(5000);
  await iptables.restore([{ table: 'filter', chains: ['KUBE-FORWARD'], commands: [] }]);
  t.deepEqual(await seen(HOUR_MS), ['full wrote']);
  t.deepEqual(await seen(HOUR_MS), ['full']);
});

test('another zone, node address or CIDR makes everything new', async (t) => {
  const { seen, change, sync, state } = start(t);
  change();
  await seen(5000);
  state.node = { ...NODE_OPTIONS, localDetector: { kind: 'cidr', cidr: '10.245.0.0/16' } };
  sync.request();
  t.deepEqual(await seen(), ['full']);
  state.node = { ...NODE_OPTIONS, localhostNodePorts: false };
  sync.request();
  t.deepEqual(await seen(2000), ['full wrote']);
});

test('a flush by another program is repaired within the sync period', async (t) => {
  const { seen, change, iptables } = start(t);
  change();
  await seen(5000);
  iptables.flush('nat');
  t.deepEqual(await seen(30_000), ['full wrote']);
  t.deepEqual(await seen(60_000), []);
});

test('tampering that the kernel tells of is repaired at once, in full; a watch that breaks is started again', async (t) => {
  let tell: (() => void) | undefined;
  let watches = 0;
  const { seen, change } = start(t, {
    watchTampering(signal, onTampered) {
      watches++;
      tell = onTampered;
      if (watches === 1) return Promise.reject(new Error('ENOBUFS'));
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    },
  });
  change();
  await seen(5000);
  t.is(watches, 1);
  await seen(30_000);
  t.is(watches, 2);
  tell!();
  t.deepEqual(await seen(), ['full']);
});

test('a slice that is handed to another service leaves the first', (t) => {
  const sources = createSources();
  const tracker = createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
  const changes: string[] = [];
  const stop = feedTrackers(sources, [tracker], {
    serviceChanged: () => changes.push('service'),
    endpointsChanged: () => changes.push('endpoints'),
  });
  sources.services.put(serviceOf('ns/a', '10.96.0.1'), serviceOf('ns/b', '10.96.0.2'));
  const slice = sliceOf('ns/a', ['10.244.0.2']);
  sources.endpointSlices.put(slice);
  sources.endpointSlices.put({
    ...slice,
    metadata: { ...slice.metadata, labels: { 'kubernetes.io/service-name': 'b' } },
  });
  const { snapshot } = tracker.take();
  const count = (name: string) => snapshot.services.get(name)?.ports[0]?.endpoints.length;
  t.deepEqual([count('ns/a'), count('ns/b')], [0, 1]);
  t.deepEqual(changes, ['service', 'service', 'endpoints', 'endpoints']);
  sources.services.remove(serviceOf('ns/a', '10.96.0.1'));
  t.false(tracker.take().snapshot.services.has('ns/a'));
  stop();
  sources.services.put(serviceOf('ns/c', '10.96.0.3'));
  t.false(tracker.take().snapshot.services.has('ns/c'));
});
