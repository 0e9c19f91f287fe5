/** VLANs of the bridge plugin, on a kernel whose bridges filter them (the machines that run tests mostly do not). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { removeIdleBridges } from '../../cni/node/idle-bridges.ts';
import { addPortVlans, deletePortVlans, listPortVlans } from '../../src/linux/netlink/bridges.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { createSetCaller, hasReference } from '../support/cni-call.ts';
import { createTestNetns, type TestNetns } from '../support/netns.ts';

interface PortVlans {
  ifname: string;
  vlans: { vlan: number; flags?: string[] }[];
}

async function setUp(t: ExecutionContext) {
  const host = await createTestNetns(t, 'host');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet: '10.9.0.0/24' }]] };
  const pods = await Promise.all(['one', 'two', 'three'].map((label) => createTestNetns(t, label)));
  /** Of each port, as bridge(8) shows them: `10 PVID Egress Untagged`. */
  const vlans = async (port: string) => {
    const shown = JSON.parse(await host.run('bridge', ['-j', 'vlan', 'show', 'dev', port])) as PortVlans[];
    return (shown[0]?.vlans ?? []).map(({ vlan, flags = [] }) => [vlan, ...flags].join(' '));
  };
  const [one, two, three] = pods as [TestNetns, TestNetns, TestNetns];
  return { host, one, two, three, vlans, ipam, call: createSetCaller(t, host, 'ours') };
}

const pings = (from: TestNetns, address: string) =>
  from.run('busybox', ['ping', '-c', '1', '-W', '1', address]).then(
    () => true,
    () => false,
  );

test.serial('vlan: pods of one VLAN reach each other and its gateway, not those of another', async (t) => {
  const { host, one, two, three, vlans, ipam, call } = await setUp(t);
  const conf = (vlan: number, extra: object = {}) => ({ bridge: 'br0', isGateway: true, vlan, ipam, ...extra });
  const added = await call('bridge', { command: 'ADD', id: 'one', pod: one, conf: conf(10) });
  t.is(added.status, 0, JSON.stringify(added.out));
  t.deepEqual(
    added.out.interfaces.map(({ name }: { name: string }) => name.replace(/^veth.*/, 'veth')),
    ['br0', 'veth', 'eth0', 'br0.10'],
  );
  const port = added.out.interfaces[1].name;
  t.deepEqual(await vlans(port), ['10 PVID Egress Untagged']);
  t.is((await call('bridge', { command: 'ADD', id: 'two', pod: two, conf: conf(10) })).status, 0);
  // In the same subnet: only the VLAN keeps it apart.
  const apart = conf(20, { isGateway: false });
  t.is((await call('bridge', { command: 'ADD', id: 'three', pod: three, conf: apart })).status, 0);
  t.deepEqual([await pings(one, '10.9.0.1'), await pings(one, '10.9.0.3')], [true, true]);
  t.deepEqual([await pings(one, '10.9.0.4'), await pings(three, '10.9.0.1')], [false, false]);
  t.regex(await host.ip('address', 'show', 'br0.10'), /10\.9\.0\.1\/24/);
  t.notRegex(await host.ip('address', 'show', 'br0'), /10\.9\.0/);
  const checking = { ...conf(10), prevResult: added.out };
  t.is((await call('bridge', { command: 'CHECK', id: 'one', pod: one, conf: checking })).status, 0);
  for (const [id, pod] of [
    ['one', one],
    ['two', two],
    ['three', three],
  ] as const)
    t.is((await call('bridge', { command: 'DEL', id, pod, conf: conf(10) })).status, 0);
  t.is(
    (
      await call('bridge', {
        command: 'GC',
        conf: { ...conf(10), cniVersion: '1.1.0', 'cni.dev/valid-attachments': [] },
      })
    ).status,
    0,
  );
  t.true(await pings(host, '10.9.0.1'), 'the gateway stays with the bridge');
  const netlink = openRtnetlink(host.path);
  t.teardown(() => netlink.close());
  t.deepEqual(await removeIdleBridges(netlink), ['br0']);
  t.deepEqual(
    (await netlink.listLinks()).map(({ name }) => name),
    ['lo'],
    'berth cni uninstall takes both',
  );
});

test.serial('vlanTrunk: tagged VLANs in ranges, and an untagged one', async (t) => {
  const { one, two, vlans, ipam, call } = await setUp(t);
  const trunk = { bridge: 'br0', vlanTrunk: [{ id: 10 }, { minID: 20, maxID: 22 }, { id: 21 }], ipam: {} };
  const cases: [object, string[]][] = [
    [{}, ['1 PVID Egress Untagged', '10', '20', '21', '22']],
    [{ vlan: 30 }, ['10', '20', '21', '22', '30 PVID Egress Untagged']],
    [{ vlan: 30, preserveDefaultVlan: true }, ['1 Egress Untagged', '10', '20', '21', '22', '30 PVID Egress Untagged']],
  ];
  for (const [keys, expected] of cases) {
    const added = await call('bridge', {
      command: 'ADD',
      id: 'one',
      pod: one,
      ifname: 'net0',
      conf: { ...trunk, ...keys },
    });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.deepEqual(await vlans(added.out.interfaces[1].name), expected);
    t.is((await call('bridge', { command: 'DEL', id: 'one', pod: one, ifname: 'net0', conf: trunk })).status, 0);
  }
  t.is((await call('bridge', { command: 'ADD', id: 'one', pod: one, ifname: 'net0', conf: trunk })).status, 0);
  t.is(
    (await call('bridge', { command: 'ADD', id: 'two', pod: two, conf: { bridge: 'br0', vlan: 10, ipam } })).status,
    0,
  );
  await one.ip('link', 'add', 'link', 'net0', 'name', 'net0.10', 'up', 'type', 'vlan', 'id', '10');
  await one.ip('address', 'add', '10.9.0.50/24', 'dev', 'net0.10');
  t.true(await pings(one, '10.9.0.2'));
});

test.serial('a bridge of the admin’s that filters no VLANs is refused, and changed by nobody', async (t) => {
  const { host, one, ipam, call } = await setUp(t);
  await host.ip('link', 'add', 'br0', 'type', 'bridge');
  const refused = await call('bridge', {
    command: 'ADD',
    id: 'one',
    pod: one,
    conf: { bridge: 'br0', vlan: 10, ipam },
  });
  t.deepEqual([refused.out.code, refused.out.msg], [7, 'bridge br0 does not filter VLANs, which vlan needs']);
  t.regex(refused.out.details, /vlan_filtering 1/);
  t.regex(await host.ip('-d', 'link', 'show', 'br0'), /vlan_filtering 0/);
  const long = { bridge: 'bridge-of-pods', vlan: 4000, isGateway: true, ipam };
  const tooLong = await call('bridge', { command: 'ADD', id: 'one', pod: one, conf: long });
  t.deepEqual([tooLong.out.code, /too long a name/.test(tooLong.out.msg)], [7, true]);
  t.notRegex(await host.ip('link'), /veth/);
});

const comparesReference = hasReference && process.env['BERTH_TEST_FULL'] === '1';

(comparesReference ? test.serial : test.serial.skip)(
  `vlan: ports are as the reference plugin makes them${comparesReference ? '' : hasReference ? ' (with --full)' : ' (Debian’s plugins could not be had)'}`,
  async (t) => {
    const { one, two, vlans, ipam, call } = await setUp(t);
    const conf = { bridge: 'br0', isGateway: true, vlan: 10, preserveDefaultVlan: true, ipam };
    const first = await call('bridge', { command: 'ADD', id: 'one', pod: one, conf });
    const second = await call('bridge', { command: 'ADD', id: 'two', pod: two, conf }, 'reference');
    t.is(second.status, 0, JSON.stringify(second.out));
    t.deepEqual(
      second.out.interfaces.map(({ name }: { name: string }) => name.replace(/^veth.*/, 'veth')),
      first.out.interfaces.map(({ name }: { name: string }) => name.replace(/^veth.*/, 'veth')),
    );
    t.deepEqual(await vlans(second.out.interfaces[1].name), await vlans(first.out.interfaces[1].name));
    t.true(await pings(two, '10.9.0.2'), 'both are in one VLAN');
    t.is((await call('bridge', { command: 'DEL', id: 'one', pod: one, conf }, 'reference')).status, 0);
    t.is((await call('bridge', { command: 'DEL', id: 'two', pod: two, conf })).status, 0);
  },
);

test.serial('VLANs of ports by netlink are as bridge(8) shows them', async (t) => {
  const { host, vlans } = await setUp(t);
  await host.ip('link', 'add', 'br0', 'type', 'bridge', 'vlan_filtering', '1');
  await host.ip('link', 'add', 'port0', 'type', 'veth', 'peer', 'name', 'port1');
  await host.ip('link', 'set', 'port0', 'master', 'br0');
  const netlink = openRtnetlink(host.path);
  t.teardown(() => netlink.close());
  const { index } = (await netlink.getLink('port0'))!;
  await addPortVlans(netlink, index, { first: 7, last: 9 });
  await deletePortVlans(netlink, index, { first: 8, last: 8 });
  t.deepEqual(await vlans('port0'), ['1 PVID Egress Untagged', '7', '9']);
  t.deepEqual(
    (await listPortVlans(netlink, index)).map(({ first, pvid, untagged }) => [first, pvid, untagged]),
    [
      [1, true, true],
      [7, false, false],
      [9, false, false],
    ],
  );
});
