/** VXLAN devices, their forwarding tables and what else an overlay asks of the route socket, against iproute2. */
import test, { type ExecutionContext } from 'ava';
import { readTxChecksumOffload, setTxChecksumOffload } from '../../../src/linux/checksum-offload.ts';
import { SyscallError } from '../../../src/linux/libc.ts';
import {
  deleteForwardingEntry,
  listForwardingEntries,
  setForwardingEntry,
} from '../../../src/linux/netlink/forwarding-entries.ts';
import { watchLinks } from '../../../src/linux/netlink/link-monitor.ts';
import { lookUpRoute } from '../../../src/linux/netlink/route-lookup.ts';
import { openRtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import { decodeVxlan, encodeVxlan } from '../../../src/linux/netlink/vxlan.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns } from '../../support/netns.ts';

async function setUp(t: ExecutionContext) {
  const netns = await createTestNetns(t, 'vxlan');
  const netlink = openRtnetlink(netns.path);
  t.teardown(() => netlink.close());
  await netns.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far');
  await netns.ip('addr', 'add', '192.0.2.1/24', 'dev', 'eth0');
  await netns.ip('-6', 'addr', 'add', '2001:db8::1/64', 'dev', 'eth0', 'nodad');
  for (const name of ['eth0', 'far']) await netns.ip('link', 'set', name, 'up');
  const eth0 = (await netlink.getLink('eth0'))!;
  return { netns, netlink, eth0 };
}

interface IpVxlan {
  linkinfo: { info_kind: string; info_data: Record<string, unknown> };
  address: string;
  mtu: number;
}

test('a device of IPv4 and one of IPv6 of the same VNI, read back and as ip shows them', async (t) => {
  const { netns, netlink, eth0 } = await setUp(t);
  const v4 = { id: 1, local: '192.0.2.1', lowerIndex: eth0.index, port: 8472, learning: false, groupPolicy: false };
  const v6 = { ...v4, local: '2001:db8::1', learning: true, groupPolicy: true };
  const mac = '02:00:00:00:00:01';
  await netlink.createLink({ name: 'flannel.1', kind: 'vxlan', data: encodeVxlan(v4), mac, mtu: 1450, up: true });
  await netlink.createLink({ name: 'flannel-v6.1', kind: 'vxlan', data: encodeVxlan(v6), up: true });
  const [one] = await netns.ipJson<IpVxlan>('-d', 'link', 'show', 'flannel.1');
  t.like(one, { address: mac, mtu: 1450 });
  t.like(one?.linkinfo, {
    info_kind: 'vxlan',
    info_data: { id: 1, local: '192.0.2.1', link: 'eth0', port: 8472, learning: false, gbp: undefined },
  });
  const [other] = await netns.ipJson<IpVxlan>('-d', 'link', 'show', 'flannel-v6.1');
  t.like(other?.linkinfo.info_data, { id: 1, local6: '2001:db8::1', link: 'eth0', port: 8472, learning: true });
  t.regex(await netns.ip('-d', 'link', 'show', 'flannel-v6.1'), /gbp/);
  const none = { group: undefined, missNotifications: false, external: false };
  t.deepEqual(decodeVxlan((await netlink.getLink('flannel.1'))!.data!), { ...v4, ...none });
  t.deepEqual(decodeVxlan((await netlink.getLink('flannel-v6.1'))!.data!), { ...v6, ...none });

  const again = netlink.createLink({ name: 'other', kind: 'vxlan', data: encodeVxlan(v4) });
  t.true(isNetlinkError(await t.throwsAsync(again), 'EEXIST'), 'one device for each VNI and port');
});

test("the kernel's own port, and what others' devices have", async (t) => {
  const { netns, netlink, eth0 } = await setUp(t);
  const data = { id: 7, local: '192.0.2.1', lowerIndex: eth0.index, learning: false, groupPolicy: false };
  await netlink.createLink({ name: 'flannel.7', kind: 'vxlan', data: encodeVxlan(data) });
  t.is(decodeVxlan((await netlink.getLink('flannel.7'))!.data!).port, 8472);
  await netns.ip(...'link add many type vxlan id 9 group 239.1.1.1 dev eth0 l2miss l3miss dstport 4789'.split(' '));
  await netns.ip(...'link add any type vxlan external dstport 4790'.split(' '));
  t.like(decodeVxlan((await netlink.getLink('many'))!.data!), {
    id: 9,
    group: '239.1.1.1',
    local: undefined,
    port: 4789,
    learning: true,
    missNotifications: true,
  });
  t.like(decodeVxlan((await netlink.getLink('any'))!.data!), { external: true, lowerIndex: undefined });
});

test('forwarding entries: set, moved, listed by device, deleted', async (t) => {
  const { netns, netlink, eth0 } = await setUp(t);
  for (const [name, id] of [
    ['flannel.1', 1],
    ['flannel.2', 2],
  ] as const)
    await netlink.createLink({
      name,
      kind: 'vxlan',
      data: encodeVxlan({ id, local: '192.0.2.1', lowerIndex: eth0.index, learning: false, groupPolicy: false }),
      up: true,
    });
  const [one, two] = [(await netlink.getLink('flannel.1'))!.index, (await netlink.getLink('flannel.2'))!.index];
  const mac = '02:00:00:00:00:02';
  await setForwardingEntry(netlink, { linkIndex: one, mac, destination: '192.0.2.2' });
  await setForwardingEntry(netlink, { linkIndex: one, mac, destination: '192.0.2.3' });
  await setForwardingEntry(netlink, { linkIndex: two, mac, destination: '192.0.2.4' });
  t.regex(
    await netns.run('bridge', ['fdb', 'show', 'dev', 'flannel.1']),
    /^02:00:00:00:00:02 dst 192\.0\.2\.3 self permanent\s*$/,
  );
  t.deepEqual(await listForwardingEntries(netlink, one), [
    { linkIndex: one, mac, destination: '192.0.2.3', permanent: true },
  ]);
  await deleteForwardingEntry(netlink, { linkIndex: one, mac, destination: '192.0.2.3' });
  t.deepEqual(await listForwardingEntries(netlink, one), []);
  t.is((await listForwardingEntries(netlink, two)).length, 1);
  const gone = deleteForwardingEntry(netlink, { linkIndex: one, mac, destination: '192.0.2.3' });
  t.true(isNetlinkError(await t.throwsAsync(gone), 'ENOENT'));
});

test('where a packet would go', async (t) => {
  const { netns, netlink, eth0 } = await setUp(t);
  await netns.ip('route', 'add', '198.51.100.0/24', 'via', '192.0.2.9');
  await netns.ip('-6', 'route', 'add', '2001:db8:1::/48', 'via', '2001:db8::9');
  await netns.ip('route', 'add', 'unreachable', '203.0.113.0/24');
  await netns.ip('-6', 'route', 'add', 'blackhole', '2001:db8:2::/48');
  const link = { local: false, linkIndex: eth0.index };
  t.like(await lookUpRoute(netlink, '192.0.2.5'), { ...link, gateway: undefined, source: '192.0.2.1' });
  t.like(await lookUpRoute(netlink, '198.51.100.5'), { ...link, gateway: '192.0.2.9' });
  t.like(await lookUpRoute(netlink, '2001:db8::5'), { ...link, gateway: undefined });
  t.like(await lookUpRoute(netlink, '2001:db8:1::5'), { ...link, gateway: '2001:db8::9' });
  for (const own of ['192.0.2.1', '2001:db8::1']) t.true((await lookUpRoute(netlink, own))?.local);
  for (const nowhere of ['203.0.113.1', '2001:db8:2::1', '10.1.1.1'])
    t.is(await lookUpRoute(netlink, nowhere), undefined, nowhere);
});

test('links that come, change and go are told', async (t) => {
  const { netns } = await setUp(t);
  const seen: string[] = [];
  const stop = watchLinks({ netns: netns.path, onChange: (kind, { name, up }) => seen.push(`${kind} ${name} ${up}`) });
  t.teardown(stop);
  await netns.ip('link', 'add', 'br0', 'type', 'bridge');
  await netns.ip('link', 'set', 'br0', 'up');
  await netns.ip('link', 'delete', 'br0');
  await eventually('the end', () => seen.includes('deleted br0 false') || seen.includes('deleted br0 true'));
  t.true(seen.includes('changed br0 false'));
  t.true(seen.includes('changed br0 true'));
});

test('checksum offload of a device: read, off, on; a link without one', async (t) => {
  const { netns, netlink, eth0 } = await setUp(t);
  const data = encodeVxlan({ id: 1, local: '192.0.2.1', lowerIndex: eth0.index, learning: false, groupPolicy: false });
  await netlink.createLink({ name: 'flannel.1', kind: 'vxlan', data, up: true });
  t.true(readTxChecksumOffload('flannel.1', netns.path));
  setTxChecksumOffload('flannel.1', false, netns.path);
  t.false(readTxChecksumOffload('flannel.1', netns.path));
  setTxChecksumOffload('flannel.1', true, netns.path);
  t.true(readTxChecksumOffload('flannel.1', netns.path));
  t.is(t.throws(() => readTxChecksumOffload('nowhere', netns.path), { instanceOf: SyscallError })?.code, 'ENODEV');
});
