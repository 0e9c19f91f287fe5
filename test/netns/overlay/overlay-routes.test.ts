/** Routes to peers: what they cost, and whose they are. */
import test from 'ava';
import { createOverlayRoutes, type PeerRoute, removeOverlayRoutes } from '../../../cni/overlay/overlay-routes.ts';
import { openRtnetlink, type Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { createTestNetns } from '../../support/netns.ts';

const PEERS = 200;

async function setUp(t: Parameters<typeof createTestNetns>[0]) {
  const host = await createTestNetns(t, 'host');
  await host.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'wire');
  await host.ip('addr', 'add', '192.0.0.1/16', 'dev', 'eth0');
  await host.ip('addr', 'add', '2001:db8::1/64', 'dev', 'eth0', 'nodad');
  await host.ip('link', 'set', 'wire', 'up');
  await host.ip('link', 'set', 'eth0', 'up');
  const [link] = await host.ipJson<{ ifindex: number }>('link', 'show', 'eth0');
  const real = openRtnetlink(host.path);
  t.teardown(() => real.close());
  const calls: string[] = [];
  const counted = Object.fromEntries(
    Object.entries(real).map(([name, method]) => [
      name,
      (...args: never[]) => {
        calls.push(name);
        return (method as (...args: never[]) => unknown)(...args);
      },
    ]),
  ) as unknown as Rtnetlink;
  const routeTo = (index: number, gateway = `192.0.2.${index}`): PeerRoute[] => [
    { destination: `10.244.${index}.0/24`, gateway, linkIndex: link!.ifindex },
  ];
  const all = new Map(Array.from({ length: PEERS }, (_, index) => [`n${index + 1}`, routeTo(index + 1)]));
  /** What was sent since the last question. */
  const sent = () => calls.splice(0);
  return { host, real, routes: createOverlayRoutes(counted), routeTo, all, sent, index: link!.ifindex };
}

test('one peer of 200 that comes, moves or goes is one message; a full sync of what is right is one look', async (t) => {
  const { routes, routeTo, all, sent, host } = await setUp(t);
  t.deepEqual(await routes.syncAll(all), { changed: PEERS, skipped: [] });
  sent();
  t.deepEqual(await routes.syncAll(all), { changed: 0, skipped: [] });
  t.deepEqual(sent(), ['listRoutes']);
  t.deepEqual(await routes.set(new Map([['new', routeTo(201)]])), { changed: 1, skipped: [] });
  t.deepEqual(sent(), ['addRoute']);
  t.is((await routes.set(new Map([['new', routeTo(201, '192.0.3.1')]]))).changed, 1);
  t.deepEqual(sent(), ['replaceRoute']);
  t.is((await routes.set(new Map([['new', routeTo(201, '192.0.3.1')]]))).changed, 0);
  t.is((await routes.set(new Map([['new', []]]))).changed, 1);
  t.deepEqual(sent(), ['deleteRoute']);
  t.is((await host.ip('route', 'show', 'proto', '191')).trim().split('\n').length, PEERS);
});

test('a pod CIDR that moves from one node to another in one step is never lost', async (t) => {
  const { routes, routeTo, host } = await setUp(t);
  await routes.set(new Map([['old', routeTo(7)]]));
  for (const order of [
    ['old', 'heir'],
    ['heir', 'old'],
  ]) {
    const changes = new Map(order.map((name) => [name, name === 'heir' ? routeTo(7, '192.0.2.99') : []]));
    t.deepEqual((await routes.set(changes)).skipped, []);
    t.regex(await host.ip('route', 'show', '10.244.7.0/24'), /via 192\.0\.2\.99/);
    await routes.syncAll(new Map([['old', routeTo(7)]]));
  }
});

test('another program’s routes are never touched: not of another destination, metric or table; in the way, they are named', async (t) => {
  const { routes, routeTo, host, real, index } = await setUp(t);
  for (const route of [
    ['10.9.0.0/16', 'via', '192.0.2.9'],
    ['10.244.3.0/24', 'via', '192.0.2.9', 'metric', '77'],
    ['10.244.2.0/24', 'via', '192.0.2.9', 'table', '100'],
    ['10.244.2.0/24', 'via', '192.0.2.9'],
  ])
    await host.ip('route', 'add', ...route);
  const before = await host.ip('route', 'show', 'table', 'all', 'proto', 'boot');
  const want = new Map([
    ['two', routeTo(2)],
    ['three', routeTo(3)],
  ]);
  for (const sync of [() => routes.set(want), () => routes.syncAll(want)]) {
    const { skipped } = await sync();
    t.is(skipped.length, 1);
    t.is(skipped[0]!.node, 'two');
    t.regex(
      skipped[0]!.reason,
      new RegExp(`10\\.244\\.2\\.0/24 via 192\\.0\\.2\\.9, link ${index}, protocol 3\\): remove it \\(ip route del`),
    );
  }
  await removeOverlayRoutes(real);
  await removeOverlayRoutes(real);
  t.is(await host.ip('route', 'show', 'table', 'all', 'proto', 'boot'), before);
  t.is((await host.ip('route', 'show', 'proto', '191')).trim(), '');
});

test('IPv6 routes, whose metric the kernel chooses, are found again', async (t) => {
  const { routes, host, index } = await setUp(t);
  const want = new Map([['two', [{ destination: 'fd00:244:2::/64', gateway: '2001:db8::2', linkIndex: index }]]]);
  t.deepEqual(await routes.syncAll(want), { changed: 1, skipped: [] });
  t.deepEqual(await routes.syncAll(want), { changed: 0, skipped: [] });
  await host.ip('-6', 'route', 'del', 'fd00:244:2::/64');
  t.deepEqual(await routes.syncAll(want), { changed: 1, skipped: [] });
  t.deepEqual((await routes.set(new Map([['two', []]]))).changed, 1);
  t.is((await host.ip('-6', 'route', 'show', 'proto', '191')).trim(), '');
});
