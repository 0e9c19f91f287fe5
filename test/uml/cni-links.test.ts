/** Plugins whose links the machines that run tests mostly lack: vlan, ipvlan, dummy, vrf. Ours in process, as the agent has them, and Debian's. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createDhcpLeases } from '../../cni/ipam/dhcp/leases.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { createSetCaller, hasReference, type PluginSet } from '../support/cni-call.ts';
import { startDhcpServer } from '../support/dhcp-server.ts';
import { createTestNetns, type TestNetns } from '../support/netns.ts';

/** A process is dear in a guest. */
const batch = (netns: TestNetns, lines: string[]) => netns.run('ip', ['-batch', '-'], { input: lines.join('\n') });

/** A host with `up0` on the wire to a switch, which has 10.9.0.1, and 10.9.7.1 in VLAN 7. */
async function setUp(t: ExecutionContext, podCount = 1) {
  const host = await createTestNetns(t, 'host');
  const wire = await createTestNetns(t, 'switch');
  await batch(host, [
    `link add up0 type veth peer name sw0 netns ${wire.name}`,
    'link set up0 up',
    'address add 10.9.0.5/24 dev up0',
  ]);
  await batch(wire, [
    'link set sw0 up',
    'link add link sw0 name sw0.7 up type vlan id 7',
    'address add 10.9.0.1/24 dev sw0',
    'address add 10.9.7.1/24 dev sw0.7',
  ]);
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const ipam = (subnet: string) => ({
    type: 'host-local',
    dataDir,
    ranges: [[{ subnet: `${subnet}.0/24`, rangeStart: `${subnet}.10`, gateway: `${subnet}.1` }]],
    routes: [{ dst: '0.0.0.0/0' }],
  });
  const leases = () => readdirSync(join(dataDir, 'net')).filter((name) => /^\d+\./.test(name));
  const pods: TestNetns[] = [];
  for (let count = 0; count < podCount; count++) pods.push(await createTestNetns(t, `pod${count}`));
  return { host, pod: pods[0]!, other: pods[1]!, ipam, leases };
}

const isFull = process.env['BERTH_TEST_FULL'] === '1';
const sets: PluginSet[] = ['ours', 'reference'];

const ping = (pod: TestNetns, address: string) => pod.run('busybox', ['ping', '-c', '1', '-W', '2', address]);

for (const set of sets) {
  const runs = set === 'ours' || (hasReference && isFull);
  const story = runs ? test.serial : test.serial.skip;
  const why = hasReference ? ' (with --full)' : ' (Debian’s plugins could not be had)';
  const name = (title: string) => `${set}: ${title}${runs ? '' : why}`;

  story(name('vlan: a tagged network; ADD, traffic, CHECK, DEL'), async (t) => {
    const { host, pod, other, ipam, leases } = await setUp(t, 2);
    const call = createSetCaller(t, host, set);
    const conf = { master: 'up0', vlanId: 7, mtu: 1400, ipam: ipam('10.9.7') };
    const added = await call('vlan', { command: 'ADD', id: 'one', pod, conf });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.like(added.out.interfaces[0], { name: 'eth0', sandbox: pod.path });
    t.is(added.out.ips[0].address, '10.9.7.10/24');
    t.regex(await pod.ip('-d', 'link', 'show', 'eth0'), /mtu 1400[^~]*vlan protocol 802.1Q id 7/);
    await ping(pod, '10.9.7.1');
    const later = { ...conf, prevResult: added.out };
    t.is((await call('vlan', { command: 'CHECK', id: 'one', pod, conf: later })).status, 0);
    t.not((await call('vlan', { command: 'CHECK', id: 'one', pod, conf: { ...later, vlanId: 8 } })).status, 0);
    t.not((await call('vlan', { command: 'ADD', id: 'two', pod: other, conf })).status, 0, 'the id is taken on up0');
    for (const _ of [1, 2]) t.is((await call('vlan', { command: 'DEL', id: 'one', pod, conf: later })).status, 0);
    await call('vlan', { command: 'DEL', id: 'two', pod: other, conf });
    t.deepEqual(leases(), []);
    t.notRegex(await pod.ip('link'), /eth0/);
    t.not((await call('vlan', { command: 'ADD', id: 'two', pod: other, conf: { ...conf, vlanId: 4095 } })).status, 0);
    t.not((await call('vlan', { command: 'ADD', id: 'two', pod: other, conf: { ...conf, mtu: 9000 } })).status, 0);
    if (set === 'ours') {
      await pod.ip('link', 'add', 'in0', 'up', 'type', 'veth', 'peer', 'name', 'in1');
      const nested = { master: 'in0', linkInContainer: true, vlanId: 9, ipam: ipam('10.9.9') };
      t.is((await call('vlan', { command: 'ADD', id: 'three', pod, conf: nested })).status, 0);
      t.regex(await pod.ip('-d', 'link', 'show', 'eth0'), /eth0@in0[^~]*id 9/);
    }
  });

  story(name('ipvlan: modes; ADD, traffic, CHECK, DEL; behind another plugin'), async (t) => {
    const { host, pod, other, ipam, leases } = await setUp(t, 2);
    const call = createSetCaller(t, host, set);
    const conf = { master: 'up0', mtu: 1400, ipam: ipam('10.9.0') };
    const added = await call('ipvlan', { command: 'ADD', id: 'one', pod, conf });
    t.is(added.status, 0, JSON.stringify(added.out));
    const [up0] = await host.ipJson<{ address: string }>('link', 'show', 'up0');
    t.like(added.out.interfaces[0], { name: 'eth0', mac: up0!.address, sandbox: pod.path });
    t.regex(await pod.ip('-d', 'link', 'show', 'eth0'), /mtu 1400[^~]*ipvlan *mode l2/);
    await ping(pod, '10.9.0.1');
    const later = { ...conf, prevResult: added.out };
    t.is((await call('ipvlan', { command: 'CHECK', id: 'one', pod, conf: later })).status, 0);
    t.not((await call('ipvlan', { command: 'CHECK', id: 'one', pod, conf: { ...later, mode: 'l3' } })).status, 0);
    for (const _ of [1, 2]) t.is((await call('ipvlan', { command: 'DEL', id: 'one', pod, conf: later })).status, 0);
    t.deepEqual(leases(), []);
    t.notRegex(await pod.ip('link'), /eth0/);
    t.not((await call('ipvlan', { command: 'ADD', id: 'one', pod, conf: { ...conf, mode: 'l4' } })).status, 0);
    for (const mode of ['l3', 'l3s']) {
      const l3 = { ...conf, mode, ipam: { ...conf.ipam, routes: [] } };
      t.is((await call('ipvlan', { command: 'ADD', id: mode, pod: other, ifname: mode, conf: l3 })).status, 0);
      t.regex(await other.ip('-d', 'link', 'show', mode), new RegExp(`mode ${mode} `));
      t.is((await call('ipvlan', { command: 'DEL', id: mode, pod: other, ifname: mode, conf: l3 })).status, 0);
    }
    // The plugin before has brought the link, and its addresses are for the container.
    const prevResult = {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'up0' }],
      ips: [{ address: '10.9.0.66/24', gateway: '10.9.0.1' }],
      routes: [{ dst: '0.0.0.0/0' }],
    };
    const chained = { mode: 'l2', prevResult };
    const behind = await call('ipvlan', { command: 'ADD', id: 'two', pod, conf: chained });
    t.is(behind.out.ips?.[0].address, '10.9.0.66/24', JSON.stringify(behind.out));
    t.regex(await pod.ip('address'), /10\.9\.0\.66\/24/);
    t.is((await call('ipvlan', { command: 'DEL', id: 'two', pod, conf: chained })).status, 0);
    const several = { ...prevResult, interfaces: [{ name: 'up0' }, { name: 'lo' }] };
    t.not((await call('ipvlan', { command: 'ADD', id: 'two', pod, conf: { prevResult: several } })).status, 0);
    t.notRegex(await pod.ip('link'), /ipvlan|eth0/);
  });

  story(name('vrf: interfaces share a routing table, which comes with the first and goes with the last'), async (t) => {
    const { host, pod } = await setUp(t);
    const call = createSetCaller(t, host, set);
    const wired = (name: string, octet: number) => [
      `link add ${name} type veth peer name ${name}-peer`,
      `address add 10.9.${octet}.10/24 dev ${name}`,
      `address add fd00:${octet}::10/64 dev ${name} nodad`,
      `link set ${name}-peer up`,
      `link set ${name} up`,
    ];
    await batch(pod, [...wired('net1', 1), ...wired('net2', 2), 'route add 10.8.0.0/16 via 10.9.1.7']);
    const resultOf = (name: string) => ({
      cniVersion: '1.0.0',
      interfaces: [{ name, sandbox: pod.path }],
      ips: [],
      routes: [],
    });
    const conf = { vrfname: 'red', prevResult: resultOf('net1') };
    const first = { id: 'one', pod, ifname: 'net1', conf };
    const second = { ...first, ifname: 'net2', conf: { ...conf, prevResult: resultOf('net2') } };
    const added = await call('vrf', { command: 'ADD', ...first });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.deepEqual(added.out.interfaces, conf.prevResult.interfaces);
    t.regex(await pod.ip('-d', 'link', 'show', 'red'), /,UP[^~]*vrf table 1 /);
    t.regex(await pod.ip('link', 'show', 'net1'), /master red/);
    t.regex(await pod.ip('-6', 'address', 'show', 'net1'), /fd00:1::10\/64/, 'IPv6 addresses live through it');
    if (set === 'ours') {
      // Debian's is too old for that.
      t.regex(await pod.ip('route', 'show', 'vrf', 'red'), /10\.8\.0\.0\/16 via 10\.9\.1\.7/);
    }
    t.is((await call('vrf', { command: 'CHECK', ...first })).status, 0);
    // Debian's takes no notice.
    if (set === 'ours') t.not((await call('vrf', { command: 'CHECK', ...second })).status, 0, 'not in it yet');
    t.not((await call('vrf', { command: 'ADD', ...first })).status, 0, 'it has a master');
    const other = { ...second, conf: { ...second.conf, table: 77 } };
    t.not((await call('vrf', { command: 'ADD', ...other })).status, 0, 'the VRF has another table');
    t.is((await call('vrf', { command: 'ADD', ...second })).status, 0);
    const blue = { ...second, conf: { ...second.conf, vrfname: 'lo' } };
    t.not((await call('vrf', { command: 'ADD', ...blue })).status, 0, 'no VRF of that name');
    t.is((await call('vrf', { command: 'DEL', ...first })).status, 0);
    t.regex(await pod.ip('link', 'show', 'net2'), /master red/);
    t.is((await call('vrf', { command: 'DEL', ...second })).status, 0);
    t.notRegex(await pod.ip('link'), /red/);
    t.is((await call('vrf', { command: 'DEL', ...second })).status, 0, 'again');
    t.is((await call('vrf', { command: 'ADD', ...other })).status, 0);
    t.regex(await pod.ip('-d', 'link', 'show', 'red'), /vrf table 77 /);
    if (set === 'ours') {
      t.is((await call('vrf', { command: 'DEL', ...other })).status, 0);
      // Both want to make it: one waits for the other.
      const together = await Promise.all([first, second].map((one) => call('vrf', { command: 'ADD', ...one })));
      t.deepEqual(
        together.map(({ status }) => status),
        [0, 0],
      );
      t.is((await call('vrf', { command: 'DEL', ...first })).status, 0);
    }
    t.not(
      (await call('vrf', { command: 'ADD', ...first, conf: { prevResult: conf.prevResult } })).status,
      0,
      'no name',
    );
    t.not((await call('vrf', { command: 'ADD', ...first, conf: { vrfname: 'red' } })).status, 0, 'unchained');
  });
}

test.serial('ours: dummy: an interface that leads nowhere', async (t) => {
  const { host, pod, ipam, leases } = await setUp(t);
  const call = createSetCaller(t, host, 'ours');
  const addresses = [{ address: '10.9.5.10/24' }, { address: 'fd00:5::10/64' }];
  const conf = { ipam: { type: 'static', addresses } };
  const added = await call('dummy', { command: 'ADD', id: 'one', pod, conf });
  t.is(added.status, 0, JSON.stringify(added.out));
  const later = { ...conf, prevResult: added.out };
  t.regex(await pod.ip('-d', 'link', 'show', 'eth0'), /,UP[^~]*dummy/);
  await ping(pod, '10.9.5.10');
  t.is((await call('dummy', { command: 'CHECK', id: 'one', pod, conf: later })).status, 0);
  await pod.ip('link', 'set', 'eth0', 'down');
  t.regex((await call('dummy', { command: 'CHECK', id: 'one', pod, conf: later })).out.msg, /eth0 is down/);
  t.is((await call('dummy', { command: 'DEL', id: 'one', pod, conf: later })).status, 0);
  t.notRegex(await pod.ip('link'), /eth0/);
  const lost = { ...ipam('10.9.6'), routes: [{ dst: '10.8.0.0/16', gw: '192.168.77.1' }] };
  t.is((await call('dummy', { command: 'ADD', id: 'two', pod, conf: { ipam: lost } })).out.code, 5);
  t.deepEqual(leases(), []);
  t.notRegex(await pod.ip('link'), /eth0/);
});

(hasReference ? test.serial : test.skip)('what one set attached the other detaches: vlan, ipvlan, vrf', async (t) => {
  const { host, pod, ipam, leases } = await setUp(t);
  const call = createSetCaller(t, host, 'ours');
  for (const [maker, remover] of [
    ['ours', 'reference'],
    ['reference', 'ours'],
  ] as const) {
    for (const [type, extra] of [
      ['vlan', { vlanId: 7, ipam: ipam('10.9.7') }],
      ['ipvlan', { ipam: ipam('10.9.0') }],
    ] as const) {
      const conf = { master: 'up0', ...extra };
      const added = await call(type, { command: 'ADD', id: 'one', pod, conf }, maker);
      t.is(added.status, 0, JSON.stringify(added.out));
      const later = { ...conf, prevResult: added.out };
      const behind = { id: 'one', pod, conf: { vrfname: 'red', prevResult: added.out } };
      if (type === 'vlan') t.is((await call('vrf', { command: 'ADD', ...behind }, maker)).status, 0);
      if (type === 'vlan') t.is((await call('vrf', { command: 'DEL', ...behind }, remover)).status, 0);
      t.is((await call(type, { command: 'DEL', id: 'one', pod, conf: later }, remover)).status, 0);
      t.notRegex(await pod.ip('link'), /eth0|red/);
    }
    t.deepEqual(leases(), []);
  }
});

test.serial('ours: an ipvlan, whose MAC is the host’s as well, gets a DHCP lease by broadcast', async (t) => {
  const host = await createTestNetns(t, 'host');
  const server = await createTestNetns(t, 'server');
  const pod = await createTestNetns(t, 'pod');
  await batch(host, [`link add up0 type veth peer name srv0 netns ${server.name}`, 'link set up0 up']);
  await batch(server, ['link set srv0 up', 'address add 10.5.0.1/24 dev srv0']);
  await host.ip('link', 'add', 'link', 'up0', 'name', 'iv0', 'type', 'ipvlan', 'mode', 'l2');
  await batch(host, [`link set iv0 netns ${pod.name} name eth0`]);
  const udhcpd = await startDhcpServer(t, server);
  const stateDir = mkdtempSync(join(tmpdir(), 'berth-dhcp-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  const patience = { timeoutMs: 5000, resendMaxMs: 5000, resendTimeoutMs: 15_000 };
  const leases = createDhcpLeases(
    { ...patience, stateDir, broadcast: false },
    { clock: systemClock, log: silentLogger },
  );
  t.teardown(() => leases.close());
  const key = { network: 'net', containerId: 'one', ifname: 'eth0' };
  const { yourAddress } = await leases.allocate({ key, netns: pod.path, options: { request: [3, 1], provide: [] } });
  await pod.ip('address', 'add', `${yourAddress}/24`, 'dev', 'eth0');
  await ping(pod, '10.5.0.1');
  await leases.release(key);
  t.regex(await udhcpd.leases(), /expired/);
});
