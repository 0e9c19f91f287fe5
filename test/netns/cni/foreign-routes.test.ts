/** Networks whose subnet the host has somewhere else: refused by name, and the host's own ways stay. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createSetCaller } from '../../support/cni-call.ts';
import { createTestNetns } from '../../support/netns.ts';

async function setUp(t: ExecutionContext) {
  const [host, lan, pod] = await Promise.all(['host', 'lan', 'pod'].map((name) => createTestNetns(t, name)));
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-foreign-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  await host!.ip('link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'port');
  await host!.ip('link', 'set', 'port', 'up');
  await host!.ip('link', 'set', 'uplink', 'up');
  const ranges = [[{ subnet: '10.9.0.0/24' }], [{ subnet: 'fd00:9::/64' }]];
  const conf = { bridge: 'br0', isGateway: true, ipam: { type: 'host-local', dataDir, ranges } };
  const call = createSetCaller(t, host!, 'ours');
  return {
    host: host!,
    lan: lan!,
    pod: pod!,
    add: (type: string) => call(type, { command: 'ADD', id: 'one', pod: pod!, conf }),
    del: (type: string) => call(type, { command: 'DEL', id: 'one', pod: pod!, conf }),
    call,
    conf,
    leases: () => readdirSync(join(dataDir, 'net')).filter((name) => /^\d+\.|:/.test(name)),
  };
}

/** What the host has, the route as it is told, and why. */
const IN_THE_WAY: [what: string, has: string[], told: RegExp][] = [
  ['its network', ['addr', 'add', '10.9.0.200/24', 'dev', 'uplink'], /^10\.9\.0\.0\/24 leads to uplink/],
  ['its network’s router', ['addr', 'add', '10.9.0.1/24', 'dev', 'uplink'], /^10\.9\.0\.0\/24 leads to uplink/],
  ['a route', ['route', 'add', '10.9.0.0/25', 'dev', 'uplink'], /^10\.9\.0\.0\/25 leads to uplink/],
  ['the container’s address', ['addr', 'add', '10.9.0.2/32', 'dev', 'uplink'], /^10\.9\.0\.2\/32 leads to /],
  ['an IPv6 route', ['-6', 'route', 'add', 'fd00:9::/64', 'dev', 'uplink'], /^fd00:9::\/64 leads to uplink/],
];

for (const [what, has, told] of IN_THE_WAY)
  test(`bridge: ${what} is in the way`, async (t) => {
    const { host, pod, add, del, leases } = await setUp(t);
    await host.ip(...has);
    const before = await host.ip('route');
    const { status, out } = await add('bridge');
    t.deepEqual([status, out.code], [1, 7], JSON.stringify(out));
    t.regex(out.msg, /^a route of the host is in the way of |^10\.9\.0\.2 is an address of the host itself$/);
    t.regex(out.details, told);
    t.deepEqual([leases(), await host.ip('route')], [[], before]);
    t.notRegex(
      await host.ip('addr', 'show', 'br0'),
      /inet 10\.|inet6 fd00/,
      'the router’s address is not the host’s now',
    );
    t.notRegex(await pod.ip('link'), /eth0/);
    t.is((await del('bridge')).status, 0);
    await host.ip('link', 'del', 'uplink');
    t.is((await add('bridge')).status, 0, 'out of the way');
    t.is((await del('bridge')).status, 0);
  });

test('bridge: wider routes, and those that refuse, are not in the way', async (t) => {
  const { host, add, del } = await setUp(t);
  await host.ip('route', 'add', 'default', 'dev', 'uplink');
  await host.ip('route', 'add', '10.9.0.0/16', 'dev', 'uplink');
  await host.ip('route', 'add', 'blackhole', '10.9.0.0/24', 'metric', '4000');
  await host.ip('-6', 'route', 'add', 'fd00:9::/48', 'dev', 'uplink');
  const { status, out } = await add('bridge');
  t.is(status, 0, JSON.stringify(out));
  t.regex(await host.ip('route', 'get', '10.9.0.2'), /dev br0/);
  t.is((await del('bridge')).status, 0);
});

test('ptp: a route to the container’s address that is somebody else’s is not replaced', async (t) => {
  const { host, add, del, leases } = await setUp(t);
  await host.ip('route', 'add', '10.9.0.2/32', 'dev', 'uplink');
  const before = await host.ip('route');
  const { status, out } = await add('ptp');
  t.deepEqual([status, out.code], [1, 7], JSON.stringify(out));
  t.regex(out.details, /^10\.9\.0\.2\/32 leads to uplink/);
  t.deepEqual(leases(), []);
  t.is((await del('ptp')).status, 0);
  t.is(await host.ip('route'), before);
});

test('ptp: the route of a container that had the address before gives way', async (t) => {
  const { host, lan, add, del } = await setUp(t);
  await host.ip('link', 'add', 'vethold', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', lan.name);
  await host.ip('link', 'set', 'vethold', 'up');
  await host.ip('route', 'add', '10.9.0.2/32', 'dev', 'vethold');
  const { status, out } = await add('ptp');
  t.is(status, 0, JSON.stringify(out));
  t.notRegex(await host.ip('route', 'get', '10.9.0.2'), /vethold/);
  t.is((await del('ptp')).status, 0);
});

test('bridge: one of ours that a network of before has left gives way when its last container has', async (t) => {
  const { host, lan, call, conf, add, del } = await setUp(t);
  const old = { ...conf, bridge: 'old0', name: 'old' };
  t.is((await call('bridge', { command: 'ADD', id: 'before', pod: lan, conf: old })).status, 0);
  const { status, out } = await add('bridge');
  t.deepEqual([status, out.code], [1, 7]);
  t.regex(out.details, /^10\.9\.0\.0\/24 leads to old0/);
  t.is((await call('bridge', { command: 'DEL', id: 'before', pod: lan, conf: old })).status, 0);
  t.is((await add('bridge')).status, 0);
  t.notRegex(await host.ip('link'), /old0/);
  t.is((await del('bridge')).status, 0);
  // The administrator's own stays, with ports or without.
  await host.ip('link', 'del', 'br0');
  await host.ip('link', 'add', 'admin0', 'type', 'bridge');
  await host.ip('link', 'set', 'admin0', 'up');
  await host.ip('addr', 'add', '10.9.0.1/24', 'dev', 'admin0');
  t.regex((await add('bridge')).out.details, /leads to admin0/);
  t.regex(await host.ip('addr', 'show', 'admin0'), /10\.9\.0\.1\/24/);
});
