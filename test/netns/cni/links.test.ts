/** Plugins that put a link of another kind into a container: the same calls to ours and to Debian's. This kernel has macvlan; the others are tried in a guest. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openProcessLeases } from '../../../cni/ipam/dhcp/process-leases.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createSetCaller, hasReference, type PluginSet } from '../../support/cni-call.ts';
import { startDhcpServer } from '../../support/dhcp-server.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns } from '../../support/netns.ts';

const sets: PluginSet[] = ['ours', 'reference'];

/** A host with `up0` on the wire to a switch, which has 10.9.0.1 and the default route. */
async function setUp(t: ExecutionContext, set: PluginSet) {
  const host = await createTestNetns(t, 'host');
  const wire = await createTestNetns(t, 'switch');
  await host.ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'sw0', 'netns', wire.name);
  await host.ip('link', 'set', 'up0', 'up');
  await host.ip('address', 'add', '10.9.0.5/24', 'dev', 'up0');
  await wire.ip('link', 'set', 'sw0', 'up');
  await wire.ip('address', 'add', '10.9.0.1/24', 'dev', 'sw0');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const ipam = {
    type: 'host-local',
    dataDir,
    ranges: [[{ subnet: '10.9.0.0/24', rangeStart: '10.9.0.10', gateway: '10.9.0.1' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '10.8.0.0/16', gw: '10.9.0.7' }],
  };
  const conf = (extra: object = {}) => ({ master: 'up0', ipam, ...extra });
  const leases = () => readdirSync(join(dataDir, 'net')).filter((name) => /^\d+\./.test(name));
  return { host, wire, call: createSetCaller(t, host, set), conf, ipam, leases, dataDir };
}

for (const set of sets) {
  const runs = set === 'ours' || hasReference;
  const story = runs ? test : test.skip;
  const name = (title: string) => `${set}: ${title}${runs ? '' : ' (Debian’s plugins could not be had)'}`;

  story(name('macvlan: ADD, traffic, CHECK, DEL twice and without a namespace'), async (t) => {
    const { wire, call, conf, leases } = await setUp(t, set);
    const pod = await createTestNetns(t, 'pod');
    const mac = '0a:58:0a:09:00:0a';
    const first = conf({ mode: 'bridge', mtu: 1400, mac });
    const added = await call('macvlan', { command: 'ADD', id: 'one', pod, conf: first });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.like(added.out.interfaces[0], { name: 'eth0', mac, sandbox: pod.path });
    t.is(added.out.interfaces.length, 1);
    t.deepEqual(added.out.ips, [{ interface: 0, address: '10.9.0.10/24', gateway: '10.9.0.1' }]);
    t.deepEqual(added.out.routes, [{ dst: '0.0.0.0/0' }, { dst: '10.8.0.0/16', gw: '10.9.0.7' }]);
    const routes = await pod.ip('route');
    t.regex(routes, /default via 10\.9\.0\.1 dev eth0/);
    t.regex(routes, /10\.8\.0\.0\/16 via 10\.9\.0\.7 dev eth0/);
    t.regex(await pod.ip('-d', 'link', 'show', 'eth0'), /mtu 1400[\s\S]*macvlan mode bridge/);
    await pod.run('busybox', ['ping', '-c', '1', '-W', '20', '10.9.0.1']);
    t.regex(await wire.ip('neigh', 'show', '10.9.0.10'), new RegExp(mac));

    const checked = { ...first, prevResult: added.out };
    t.is((await call('macvlan', { command: 'CHECK', id: 'one', pod, conf: checked })).status, 0);
    const otherMode = await call('macvlan', { command: 'CHECK', id: 'one', pod, conf: { ...checked, mode: 'vepa' } });
    t.not(otherMode.status, 0, 'another mode');
    await pod.ip('route', 'delete', '10.8.0.0/16');
    t.not((await call('macvlan', { command: 'CHECK', id: 'one', pod, conf: checked })).status, 0, 'a route is gone');
    await pod.ip('address', 'delete', '10.9.0.10/24', 'dev', 'eth0');
    t.not(
      (await call('macvlan', { command: 'CHECK', id: 'one', pod, conf: checked })).status,
      0,
      'the address is gone',
    );

    for (const _ of [1, 2]) t.is((await call('macvlan', { command: 'DEL', id: 'one', pod, conf: checked })).status, 0);
    t.notRegex(await pod.ip('link'), /eth0/);
    t.deepEqual(leases(), []);
    const other = await createTestNetns(t, 'other');
    t.is((await call('macvlan', { command: 'ADD', id: 'two', pod: other, conf: conf() })).status, 0);
    t.is((await call('macvlan', { command: 'DEL', id: 'two', conf: conf() })).status, 0, 'no namespace');
    t.deepEqual(leases(), []);
  });

  story(
    name('macvlan: modes, no addresses, the master of the default route, one in the container, versions'),
    async (t) => {
      const { host, call, conf } = await setUp(t, set);
      const pod = await createTestNetns(t, 'pod');
      const add = (ifname: string, extra: object, args = '') =>
        call('macvlan', { command: 'ADD', id: 'one', pod, ifname, args, conf: conf({ ipam: {}, ...extra }) });
      for (const mode of ['private', 'vepa']) {
        const added = await add(mode, { mode });
        t.is(added.status, 0, JSON.stringify(added.out));
        t.is(added.out.ips, undefined);
        t.regex(await pod.ip('-d', 'link', 'show', mode), new RegExp(`,UP[^~]*macvlan mode ${mode}`));
      }
      t.not((await add('source', { mode: 'source' })).status, 0, 'no such mode');
      // The runtime's MAC stands above the arguments'.
      t.is((await add('mac0', {}, 'IgnoreUnknown=1;MAC=0a:00:00:00:00:01')).out.interfaces[0].mac, '0a:00:00:00:00:01');
      const both = { runtimeConfig: { mac: '0a:00:00:00:00:02' } };
      t.is((await add('mac1', both, 'MAC=0a:00:00:00:00:03')).out.interfaces[0].mac, '0a:00:00:00:00:02');
      t.not((await add('mac2', {}, 'FOO=bar')).status, 0, 'an argument that nobody knows');
      t.not((await add('none', { master: '' })).status, 0, 'no default route');
      await host.ip('route', 'add', 'default', 'via', '10.9.0.1');
      t.is((await add('dflt', { master: '' })).status, 0);
      t.not((await add('big', { mtu: 9000 })).status, 0, 'more than the master can');
      t.not((await add('lost', { master: 'nowhere' })).status, 0);
      await pod.ip('link', 'add', 'in0', 'type', 'veth', 'peer', 'name', 'in1');
      if (set === 'ours') {
        t.is((await add('nested', { master: 'in0', linkInContainer: true })).status, 0, 'a master in the container');
        t.regex(await pod.ip('link', 'show', 'nested'), /nested@in0/);
      }
      const shapes: unknown[] = [];
      for (const [index, cniVersion] of ['0.2.0', '0.3.1', '0.4.0', '1.0.0'].entries()) {
        const ifname = `v${index}`;
        const { out } = await call('macvlan', { command: 'ADD', id: 'v', pod, ifname, conf: conf({ cniVersion }) });
        shapes.push([out.cniVersion, out.ip4?.ip ?? out.ips?.[0]?.version, out.interfaces?.[0]?.name]);
      }
      t.deepEqual(shapes, [
        ['0.2.0', '10.9.0.10/24', undefined],
        ['0.3.1', '4', 'v1'],
        ['0.4.0', '4', 'v2'],
        ['1.0.0', undefined, 'v3'],
      ]);
    },
  );

  story(name('macvlan: nothing half-made stays where the name is taken or addresses are refused'), async (t) => {
    const { host, call, conf, ipam, leases, dataDir } = await setUp(t, set);
    const pod = await createTestNetns(t, 'pod');
    await pod.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other');
    t.not((await call('macvlan', { command: 'ADD', id: 'one', pod, conf: conf() })).status, 0);
    t.regex(await pod.ip('link'), /eth0@other/, 'what was there is there');
    t.notRegex(await pod.ip('-d', 'link'), /macvlan/);
    const full = { ...ipam, ranges: [[{ subnet: '10.7.0.0/30', gateway: '10.7.0.1' }]] };
    const tiny = conf({ ipam: { ...full, dataDir: join(dataDir, 'tiny') } });
    t.is(
      (
        await call('macvlan', {
          command: 'ADD',
          id: 'fills',
          pod,
          ifname: 'net0',
          conf: { ...tiny, ipam: { ...tiny.ipam, routes: [] } },
        })
      ).status,
      0,
    );
    const refused = await call('macvlan', { command: 'ADD', id: 'two', pod, ifname: 'net1', conf: tiny });
    t.regex(refused.out.msg, /no IP addresses available/);
    if (set === 'ours') t.notRegex(await pod.ip('link'), /net1/, 'Debian’s leaves its link');
    // A route by a gateway that cannot be reached is refused by the kernel when link and address are there already.
    const lost = conf({ ipam: { ...ipam, routes: [{ dst: '10.8.0.0/16', gw: '192.168.77.1' }] } });
    t.not((await call('macvlan', { command: 'ADD', id: 'three', pod, ifname: 'net2', conf: lost })).status, 0);
    if (set === 'ours') {
      t.notRegex(await pod.ip('link'), /net2/);
      t.deepEqual(leases(), [], 'the address is free again');
    }
    t.notRegex(await host.ip('link'), /macvlan|veth[0-9a-f]{8}/);
  });
}

test('ours: codes and details of errors; DEL leaves what is not its own', async (t) => {
  const { call, conf, leases, dataDir } = await setUp(t, 'ours');
  const pod = await createTestNetns(t, 'pod');
  const codeOf = async (type: string, extra: object, more: object = {}) => {
    const { status, out } = await call(type, { command: 'ADD', id: 'one', pod, conf: conf(extra), ...more });
    return status === 0 ? 'ok' : `${out.code} ${out.msg} ${out.details ?? ''}`;
  };
  t.regex(
    await codeOf('macvlan', { mode: 'source' }),
    /^7 unknown macvlan mode: "source"; there are private, vepa, bridge, passthru/,
  );
  t.regex(await codeOf('macvlan', { master: 'nowhere' }), /^7 master: there is no link "nowhere" on the host/);
  t.regex(await codeOf('macvlan', { mtu: 9000 }), /^7 invalid MTU 9000, must be \[0, master MTU\(1500\)\] of up0/);
  t.regex(await codeOf('macvlan', { mtu: -1 }), /^7 mtu: -1 is not a size in bytes/);
  t.regex(await codeOf('macvlan', { mac: 'nonsense' }), /^7 mac: "nonsense" is no MAC address/);
  t.regex(await codeOf('macvlan', {}, { args: 'FOO=bar' }), /^4 ARGS: unknown args \[FOO\]/);
  t.regex(await codeOf('macvlan', {}, { pod: undefined, netns: '/run/netns/none' }), /^8 /);
  t.regex(await codeOf('vlan', { vlanId: 4095 }), /^7 invalid VLAN ID 4095/);
  t.regex(await codeOf('vlan', { master: '' }), /^7 "master" field is required/);
  t.regex(await codeOf('dummy', { ipam: {} }), /^7 dummy: ipam.type is missing/);
  t.regex(await codeOf('ipvlan', { mode: 'l4' }), /^7 unknown ipvlan mode: "l4"/);
  t.is(await codeOf('macvlan', {}), 'ok');
  t.regex(await codeOf('macvlan', {}), /^101 eth0 exists already/);
  t.deepEqual(leases(), ['10.9.0.10'], 'the first one’s address is its own still');

  // The other network's link has that name: it stays. So does what is of another kind.
  const otherNetwork = { ...conf(), name: 'another' };
  t.is((await call('macvlan', { command: 'DEL', id: 'one', pod, conf: otherNetwork })).status, 0);
  t.is((await call('vlan', { command: 'DEL', id: 'one', pod, conf: conf({ ipam: { type: 'static' } }) })).status, 0);
  t.regex(await pod.ip('link'), /eth0/);
  t.is((await call('macvlan', { command: 'DEL', id: 'one', pod, conf: conf() })).status, 0);
  t.notRegex(await pod.ip('link'), /eth0/);

  const newest = conf({ cniVersion: '1.1.0' });
  t.deepEqual(await call('macvlan', { command: 'STATUS', conf: newest }), { status: 0, out: undefined });
  t.is((await call('macvlan', { command: 'STATUS', conf: { ...newest, master: 'nowhere' } })).out.code, 50);

  // What an unmounted namespace leaves: its file.
  const left = join(dataDir, 'left');
  writeFileSync(left, '');
  const stale = { id: 'one', netns: left };
  t.is((await call('macvlan', { command: 'ADD', ...stale, conf: conf() })).out.code, 8);
  for (const type of ['macvlan', 'host-device', 'tuning', 'sbr', 'vrf'])
    t.is(
      (await call(type, { command: 'DEL', ...stale, conf: conf({ device: 'up0', vrfname: 'red' }) })).status,
      0,
      type,
    );
});

test('ours: many at once: no address twice, each with rules of its own', async (t) => {
  const { call, conf, leases } = await setUp(t, 'ours');
  const pods = await Promise.all(Array.from({ length: 20 }, (_, index) => createTestNetns(t, `p${index}`)));
  const attach = async (pod: (typeof pods)[number]) => {
    const all = { id: pod.name, pod, ifname: 'net1' };
    const added = await call('macvlan', { command: 'ADD', ...all, conf: conf() });
    t.is(added.status, 0, JSON.stringify(added.out));
    const routed = await call('sbr', { command: 'ADD', ...all, conf: { prevResult: added.out } });
    t.is(routed.status, 0, JSON.stringify(routed.out));
    return { all, prevResult: routed.out };
  };
  const attached = await Promise.all(pods.map(attach));
  t.is(new Set(attached.map(({ prevResult }) => prevResult.ips[0].address)).size, pods.length);
  t.is(leases().length, pods.length);
  const outcomes = await Promise.all(
    attached.flatMap(({ all, prevResult }) => [
      call('sbr', { command: 'CHECK', ...all, conf: { prevResult } }),
      call('macvlan', { command: 'CHECK', ...all, conf: conf({ prevResult }) }),
    ]),
  );
  t.deepEqual(
    outcomes.filter(({ status }) => status !== 0),
    [],
  );
  await Promise.all(
    attached.map(({ all, prevResult }) => call('macvlan', { command: 'DEL', ...all, conf: conf({ prevResult }) })),
  );
  t.deepEqual(leases(), []);
});

test('ours: macvlan with addresses of a DHCP server: asked and given back through the link', async (t) => {
  const host = await createTestNetns(t, 'host');
  const server = await createTestNetns(t, 'server');
  const pod = await createTestNetns(t, 'pod');
  await host.ip('link', 'add', 'up0', 'up', 'type', 'veth', 'peer', 'name', 'srv0', 'netns', server.name);
  await server.ip('address', 'add', '10.5.0.1/24', 'dev', 'srv0');
  await server.ip('link', 'set', 'srv0', 'up');
  const dhcp = await startDhcpServer(t, server);
  const stateDir = mkdtempSync(join(tmpdir(), 'berth-dhcp-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  const dhcpLeases = openProcessLeases({ stateDir }, { clock: systemClock, log: silentLogger });
  t.teardown(() => dhcpLeases.close());
  const call = createSetCaller(t, host, 'ours', { dhcpLeases });
  const conf = { master: 'up0', ipam: { type: 'dhcp', daemonSocketPath: join(stateDir, 'nobody.sock') } };
  const added = await call('macvlan', { command: 'ADD', id: 'one', pod, conf });
  t.is(added.status, 0, JSON.stringify(added.out));
  t.regex(added.out.ips[0].address, /^10\.5\.0\.\d+\/24$/);
  await pod.run('busybox', ['ping', '-c', '1', '-W', '20', '10.5.0.1']);
  const later = { ...conf, prevResult: added.out };
  t.is((await call('macvlan', { command: 'CHECK', id: 'one', pod, conf: later })).status, 0);
  t.is((await call('macvlan', { command: 'DEL', id: 'one', pod, conf: later })).status, 0);
  t.notRegex(await pod.ip('link'), /eth0/);
  await eventually('the server hears of the release', async () => /expired/.test(await dhcp.leases()));
});

const both = hasReference ? test : test.skip;

both('macvlan: what one set attached the other checks and detaches', async (t) => {
  for (const [maker, remover] of [
    ['ours', 'reference'],
    ['reference', 'ours'],
  ] as const) {
    const { call, conf, leases } = await setUp(t, maker);
    const pod = await createTestNetns(t, 'pod');
    const added = await call('macvlan', { command: 'ADD', id: 'one', pod, conf: conf() });
    const later = conf({ prevResult: added.out });
    t.is((await call('macvlan', { command: 'CHECK', id: 'one', pod, conf: later }, remover)).status, 0);
    t.is((await call('macvlan', { command: 'DEL', id: 'one', pod, conf: later }, remover)).status, 0);
    t.notRegex(await pod.ip('link'), /eth0/);
    t.deepEqual(leases(), []);
  }
});
