/** Kinds of links, routing rules and a route's metrics against iproute2: what one writes, the other must read the same way. */
import test, { type ExecutionContext } from 'ava';
import { ipvlanData, ipvlanModeOf } from '../../../src/linux/netlink/ipvlan.ts';
import { macvlanData, macvlanModeOf } from '../../../src/linux/netlink/macvlan.ts';
import { openRtnetlink, type Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { addRule, deleteRule, listRules } from '../../../src/linux/netlink/rules.ts';
import { vlanData, vlanIdOf } from '../../../src/linux/netlink/vlan.ts';
import { vrfData, vrfTableOf } from '../../../src/linux/netlink/vrf.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

interface Scene {
  netns: TestNetns;
  netlink: Rtnetlink;
  /** Of a veth's end that is up. */
  lowerIndex: number;
}

async function setUp(t: ExecutionContext): Promise<Scene> {
  const netns = await createTestNetns(t, 'kinds');
  const netlink = openRtnetlink(netns.path);
  t.teardown(() => netlink.close());
  await netlink.createVeth({ name: 'up0', up: true, peer: { name: 'up1' } });
  await netlink.setLink('up1', { up: true });
  return { netns, netlink, lowerIndex: (await netlink.getLink('up0'))!.index };
}

interface Shown {
  linkinfo: { info_kind: string; info_data: Record<string, unknown> };
}

async function infoOf({ netns }: Scene, name: string) {
  const [shown] = await netns.ipJson<Shown>('-d', 'link', 'show', name);
  return shown?.linkinfo.info_data ?? {};
}

/** Whether this kernel has a kind. Those that it lacks are tried in a guest, through the plugins that make them. */
async function lacks(t: ExecutionContext, make: () => Promise<void>): Promise<boolean> {
  try {
    await make();
    return false;
  } catch (error) {
    if ((error as { code?: string }).code !== 'EOPNOTSUPP') throw error;
    t.pass();
    t.log(`not tried: ${(error as Error).message}`);
    return true;
  }
}

test('macvlan: mode and queue length; made in another namespace', async (t) => {
  const scene = await setUp(t);
  const { netlink, lowerIndex } = scene;
  for (const mode of ['private', 'vepa', 'bridge'] as const) {
    const data = macvlanData({ mode, broadcastQueueLength: 1500 });
    await netlink.createLink({ name: `mv-${mode}`, kind: 'macvlan', lowerIndex, data });
    t.like(await infoOf(scene, `mv-${mode}`), { mode, bcqueuelen: 1500 });
    t.is(macvlanModeOf((await netlink.getLink(`mv-${mode}`))!), mode);
  }
  t.is(macvlanModeOf((await netlink.getLink('up0'))!), undefined);
  const pod = await createTestNetns(t, 'pod');
  const data = macvlanData({ mode: 'bridge' });
  await netlink.createLink({ name: 'inside', kind: 'macvlan', lowerIndex, data, netns: pod.path, mtu: 1400 });
  const [shown] = await pod.ipJson<{ mtu: number }>('link', 'show', 'inside');
  t.is(shown?.mtu, 1400);
});

test('ipvlan: modes', async (t) => {
  const scene = await setUp(t);
  const { netlink, lowerIndex } = scene;
  const make = (mode: 'l2' | 'l3s') =>
    netlink.createLink({ name: `iv-${mode}`, kind: 'ipvlan', lowerIndex, data: ipvlanData({ mode }) });
  if (await lacks(t, () => make('l2'))) return;
  t.like(await infoOf(scene, 'iv-l2'), { mode: 'l2' });
  t.is(ipvlanModeOf((await netlink.getLink('iv-l2'))!), 'l2');
});

test('vlan: id, taken once for a lower link', async (t) => {
  const scene = await setUp(t);
  const { netlink, lowerIndex } = scene;
  const make = (name: string) => netlink.createLink({ name, kind: 'vlan', lowerIndex, data: vlanData({ id: 4094 }) });
  if (await lacks(t, () => make('tagged'))) return;
  t.like(await infoOf(scene, 'tagged'), { id: 4094 });
  t.is(vlanIdOf((await netlink.getLink('tagged'))!), 4094);
  await t.throwsAsync(make('again'), { code: 'EEXIST' });
});

test('vrf: table', async (t) => {
  const scene = await setUp(t);
  const { netlink } = scene;
  const make = () => netlink.createLink({ name: 'red', kind: 'vrf', data: vrfData({ table: 1234 }) });
  if (await lacks(t, make)) return;
  t.like(await infoOf(scene, 'red'), { table: 1234 });
  t.is(vrfTableOf((await netlink.getLink('red'))!), 1234);
});

test('rules: by source, of both families, with a table beyond 255; list, delete', async (t) => {
  const { netns, netlink } = await setUp(t);
  await addRule(netlink, { source: '10.1.2.3/32', table: 100 });
  await addRule(netlink, { source: '10.9.0.0/16', table: 70_000, priority: 500 });
  await addRule(netlink, { source: 'fd00::3/128', table: 101 });
  const shown = await netns.ipJson<Record<string, unknown>>('rule');
  t.deepEqual(
    shown.map(({ priority, src, srclen, table }) => [priority, src, srclen, table]),
    [
      [0, 'all', undefined, 'local'],
      [500, '10.9.0.0', 16, '70000'],
      [32765, '10.1.2.3', undefined, '100'],
      [32766, 'all', undefined, 'main'],
      [32767, 'all', undefined, 'default'],
    ],
  );
  const ours = (await listRules(netlink, 4)).map(({ source, priority, table }) => ({ source, priority, table }));
  t.deepEqual(ours.slice(1, 3), [
    { source: '10.9.0.0/16', priority: 500, table: 70_000 },
    { source: '10.1.2.3/32', priority: 32765, table: 100 },
  ]);
  t.true((await listRules(netlink)).some(({ family, source }) => family === 6 && source === 'fd00::3/128'));
  await deleteRule(netlink, { source: '10.9.0.0/16', table: 70_000 });
  await deleteRule(netlink, { source: '10.1.2.3/32', table: 100 });
  t.is((await listRules(netlink, 4)).length, 3);
  await t.throwsAsync(deleteRule(netlink, { source: '10.1.2.3/32', table: 100 }), { code: 'ENOENT' });
});

test('routes: MTU, advertised segment size and scope', async (t) => {
  const { netns, netlink, lowerIndex } = await setUp(t);
  const spec = { destination: '10.5.0.0/24', linkIndex: lowerIndex, mtu: 1300, advertisedMss: 1200, scope: 0 };
  await netlink.addRoute(spec);
  t.regex(await netns.ip('-d', 'route', 'show', '10.5.0.0/24'), /scope global mtu 1300 advmss 1200/);
  const found = (await netlink.listRoutes({ family: 4 })).find(({ destination }) => destination === '10.5.0.0/24');
  t.like(found, { mtu: 1300, advertisedMss: 1200, scope: 0 });
  await netlink.deleteRoute(spec);
});
