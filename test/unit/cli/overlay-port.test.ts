import { networkInterfaces } from 'node:os';
import test from 'ava';
import { Registry } from 'prom-client';
import { createOverlayHealth } from '../../../cli/roots/overlay-health.ts';
import { parseUplinkFlags, readOverlaySource, uplinkOfNode } from '../../../cli/roots/overlay-settings.ts';
import { createOverlayMetrics } from '../../../cni/overlay/metrics.ts';
import type { OverlayState } from '../../../cni/overlay/overlay.ts';
import { createHeartbeats } from '../../../src/runtime/heartbeat.ts';
import { createFakeClock } from '../../fakes/clock.ts';

const PORT = 20_000 + (process.pid % 20_000);

test('the health port: loops, readiness with its reason, metrics, peers', async (t) => {
  const clock = createFakeClock();
  const heartbeats = createHeartbeats(clock);
  const beat = heartbeats.register('overlay', 1000);
  const metrics = new Registry();
  createOverlayMetrics(metrics).mtu.set(1450);
  let state: OverlayState = { ready: false, reason: 'the list of nodes', backend: 'vxlan', peers: 0, skipped: [] };
  const controller = new AbortController();
  const address = `127.0.0.1:${PORT}`;
  const running = createOverlayHealth({ address }, { state: () => state, heartbeats, metrics }).run(controller.signal);
  const ask = async (path: string, method = 'GET') => {
    const answer = await fetch(`http://${address}${path}`, { method });
    return [answer.status, (await answer.text()).trim()] as const;
  };
  t.deepEqual(await ask('/healthz'), [200, 'ok']);
  t.deepEqual(await ask('/readyz'), [503, 'waits for the list of nodes']);
  await clock.advance(1500);
  t.deepEqual(await ask('/healthz'), [503, 'silent for too long: overlay']);
  beat();
  t.deepEqual(await ask('/healthz'), [200, 'ok']);
  state = { ...state, ready: true, reason: undefined, skipped: [{ node: 'b', reason: 'no way' }] };
  t.deepEqual(await ask('/readyz'), [200, 'ok']);
  t.deepEqual(JSON.parse((await ask('/peers'))[1]).skipped, [{ node: 'b', reason: 'no way' }]);
  t.regex((await ask('/metrics'))[1], /^berth_overlay_mtu_bytes 1450$/m);
  t.is((await ask('/nowhere'))[0], 404);
  t.is((await ask('/healthz', 'POST'))[0], 405);
  controller.abort();
  await running;
});

test('who asks from elsewhere is told of health alone', async (t) => {
  const own = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.family === 'IPv4' && !one.internal)?.address;
  if (own === undefined) return t.pass('this machine has no address but loopback');
  const clock = createFakeClock();
  const controller = new AbortController();
  const state: OverlayState = { ready: true, backend: 'vxlan', peers: 0, skipped: [] };
  const port = PORT + 1;
  const deps = { state: () => state, heartbeats: createHeartbeats(clock), metrics: new Registry() };
  const running = createOverlayHealth({ address: `0.0.0.0:${port}` }, deps).run(controller.signal);
  const status = async (host: string, path: string) => (await fetch(`http://${host}:${port}${path}`)).status;
  for (const path of ['/healthz', '/readyz', '/metrics', '/peers']) t.is(await status('127.0.0.1', path), 200, path);
  for (const path of ['/healthz', '/readyz']) t.is(await status(own, path), 200, path);
  for (const path of ['/metrics', '/peers']) t.is(await status(own, path), 403, path);
  controller.abort();
  await running;
});

test('flags of the uplink: what is no address or expression is refused by name', (t) => {
  t.deepEqual(parseUplinkFlags({ iface: ['eth1'], publicIp: '203.0.113.1' }), {
    ifaces: ['eth1'],
    ifaceRegexes: [],
    publicIps: { 4: '203.0.113.1' },
  });
  t.throws(() => parseUplinkFlags({ publicIp: 'fd00::1' }), { message: '--public-ip fd00::1: is no IPv4 address' });
  t.throws(() => parseUplinkFlags({ publicIpv6: 'x' }), { message: '--public-ipv6 x: is no IPv6 address' });
  t.throws(() => parseUplinkFlags({ ifaceCanReach: 'x' }), { message: /--iface-can-reach x: is no IP address/ });
  t.throws(() => parseUplinkFlags({ ifaceRegex: ['('] }), { message: /--iface-regex \(: / });
});

test('a tunnel leaves by the link to the machine’s own nodes, plain routes by the node’s', (t) => {
  const of = (backend: string) =>
    uplinkOfNode(readOverlaySource({ backend, clusterCidr: '10.244.0.0/16' }, t.fail), ['192.0.2.1'], ['172.29.77.1']);
  t.deepEqual(of('vxlan').nodeIps, ['172.29.77.1', '192.0.2.1']);
  t.deepEqual(of('host-gw').nodeIps, ['192.0.2.1']);
  t.throws(() => readOverlaySource({ netConfigPath: '/nowhere/net-conf.json', clusterCidr: '' }, t.fail), {
    message: /--net-config-path \/nowhere\/net-conf\.json: cannot be read/,
  });
});
