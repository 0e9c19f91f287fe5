/** What the bridge plugin has beyond the reference one that Debian ships, or does better; and what it must not do (R15, CVE-2020-10749). */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { BRIDGE_GUARD_TABLE, computeBridgeGuardChains } from '../../../cni/node/bridge-guard-table.ts';
import { renderMarkedTable } from '../../../cni/node/marked-table.ts';
import { ownPlugins } from '../../../cni/programs/all.ts';
import type { CniError, CniResult } from '../../../cni/types.ts';
import { createPluginCaller } from '../../../cni/wire/plugin-caller.ts';
import { run } from '../../../src/linux/exec.ts';
import { createNetns } from '../../../src/linux/netns.ts';
import { readSysctl, writeSysctl } from '../../../src/linux/sysctl.ts';
import { openCniChain } from '../../support/cni-chain.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';
import { sendRouterAdvertisement } from '../../support/router-advertisement.ts';

const PROGRAM = join(CHECKOUT, '.toolchain/bundle/cni/bridge.cjs');

async function setUp(t: ExecutionContext) {
  const host = await createTestNetns(t, 'host');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const own = ownPlugins({ run, sleep: (ms) => sleep(ms), hostNetns: host.path });
  const caller = createPluginCaller({ own: (type) => own.get(type), path: [], run });
  t.teardown(() => caller.close());
  const ipam = (...subnets: string[]) => ({
    type: 'host-local',
    dataDir,
    ranges: subnets.map((subnet) => [{ subnet }]),
  });
  const conf = (keys: object = {}) => ({
    cniVersion: '1.1.0',
    name: 'net',
    type: 'bridge',
    bridge: 'br0',
    isGateway: true,
    ipam: ipam('10.9.0.0/24'),
    ...keys,
  });
  const request = (id: string, pod: { path: string }) => ({
    containerId: id,
    ifname: 'eth0',
    netns: pod.path,
    args: {},
  });
  const add = (id: string, pod: { path: string }, keys?: object) => caller.add(request(id, pod), { conf: conf(keys) });
  const del = (id: string, pod: { path: string }, keys?: object) => caller.del(request(id, pod), { conf: conf(keys) });
  const codeOf = (work: Promise<unknown>) =>
    work.then(
      () => 'ok',
      (error: CniError) => `${error.code} ${error.message}`,
    );
  const leases = () => readdirSync(join(dataDir, 'net')).filter((name) => /^(\d+\.|fd)/.test(name));
  return { host, dataDir, caller, ipam, conf, request, add, del, codeOf, leases };
}

const pings = (from: TestNetns, address: string) =>
  from.run('busybox', ['ping', '-c', '1', '-W', '1', address]).then(
    () => true,
    () => false,
  );

test('R15: 100 pods at once on a bridge that is not there yet: each has its address, link and port; all go at once', async (t) => {
  const { host, dataDir } = await setUp(t);
  const chain = openCniChain(host.path, dataDir);
  t.teardown(() => chain.close());
  const pods = Array.from({ length: 100 }, () => createNetns());
  t.teardown(() => {
    for (const pod of pods) pod.close();
  });
  const results = await Promise.all(pods.map((pod, id) => chain.add(id, pod.path)));
  t.is(new Set(results.map(({ ips }) => ips[0]!.address)).size, pods.length);
  t.is(new Set(results.map(({ interfaces }) => interfaces[1]!.name)).size, pods.length);
  const ports = await host.ipJson<{ operstate: string }>('link', 'show', 'master', 'cni0');
  t.deepEqual([ports.length, new Set(ports.map(({ operstate }) => operstate))], [pods.length, new Set(['UP'])]);
  await Promise.all(pods.map((pod, id) => chain.check(id, pod.path, results[id]!)));
  await Promise.all(pods.map((pod, id) => chain.del(id, pod.path)));
  t.deepEqual(await host.ipJson('link', 'show', 'type', 'veth'), []);
  t.deepEqual(readdirSync(join(dataDir, 'net')).sort(), ['last_reserved_ip.0', 'lock']);
  t.is(await host.run('nft', ['list', 'ruleset']), '');
});

test('R15: programs that race for a bridge all find it made', async (t) => {
  const { host, conf } = await setUp(t);
  const pods = Array.from({ length: 8 }, () => createNetns());
  t.teardown(() => {
    for (const pod of pods) pod.close();
  });
  const results = await Promise.all(
    pods.map(async (pod, index) => {
      const env = {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: `c${index}`,
        CNI_NETNS: pod.path,
        CNI_IFNAME: 'eth0',
        CNI_PATH: '/nowhere',
      };
      const { stdout } = await run(process.execPath, [PROGRAM], {
        env,
        input: JSON.stringify(conf()),
        netns: host.path,
      });
      return JSON.parse(stdout) as CniResult;
    }),
  );
  t.is(new Set(results.map(({ ips }) => ips[0]!.address)).size, pods.length);
  t.is(new Set(results.map(({ interfaces }) => interfaces[0]!.mac)).size, 1, 'one bridge');
  t.is((await host.ipJson('-4', 'address', 'show', 'br0')).length, 1);
});

test('CVE-2020-10749: what a pod says of itself as a router changes nothing on the host nor in other pods', async (t) => {
  const { host, add, ipam } = await setUp(t);
  const [evil, other] = [await createTestNetns(t, 'evil'), await createTestNetns(t, 'other')];
  const keys = { isDefaultGateway: true, ipam: ipam('10.9.0.0/24', 'fd00:9::/64') };
  const bad = /2001:db8:bad|via fe80::bad/;
  // A host whose forwarding is off hears routers, were it not told otherwise.
  for (const type of ['bridge', 'ptp']) {
    const { interfaces } = await add(`evil-${type}`, evil, { ...keys, type });
    await add(`other-${type}`, other, { ...keys, type });
    writeSysctl('net/ipv6/conf/all/forwarding', '0', { netns: host.path });
    const index = (await evil.ipJson<{ ifindex: number }>('link', 'show', 'eth0'))[0]!.ifindex;
    const mac = interfaces.find(({ name }) => name === 'eth0')!.mac!;
    const advertise = () => sendRouterAdvertisement(evil.path, { index, mac }, '2001:db8:bad::');
    const known = async (netns: TestNetns) => (await netns.ip('-6', 'address')) + (await netns.ip('-6', 'route'));
    advertise();
    await sleep(500);
    for (const netns of [host, other]) t.notRegex(await known(netns), bad, `${type}: ${netns.name}`);
    if (type === 'bridge') {
      // That it would: a pod that wants to hear it.
      writeSysctl('net/ipv6/conf/eth0/accept_ra', '1', { netns: other.path });
      advertise();
      await eventually('it has heard', async () =>
        /2001:db8:bad:[\s\S]*default via fe80::bad/.test(await known(other)),
      );
      // On a node not even then: its guard drops it.
      await other.ip('-6', 'route', 'flush', 'proto', 'ra');
      await other.ip('-6', 'address', 'flush', 'dev', 'eth0', 'dynamic');
      await other.ip('-6', 'route', 'del', '2001:db8:bad::/64', 'dev', 'eth0');
      t.notRegex(await known(other), bad);
      if (readSysctl('net/bridge/bridge-nf-call-ip6tables', { netns: host.path }) === undefined)
        t.log('without br_netfilter frames on the bridge do not come by the guard');
      else {
        const guard = renderMarkedTable(BRIDGE_GUARD_TABLE, computeBridgeGuardChains('br0'));
        await host.run('nft', ['-f', '-'], { input: guard });
        advertise();
        await sleep(500);
        t.notRegex(await known(other), bad);
      }
    }
    for (const pod of [evil, other]) await pod.ip('link', 'delete', 'eth0');
  }
});

test('portIsolation: isolated pods reach the gateway and not each other', async (t) => {
  const { add, del, codeOf } = await setUp(t);
  const pods = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two'), await createTestNetns(t, 'three')];
  for (const [index, pod] of pods.entries()) await add(`c${index}`, pod, { portIsolation: index < 2 });
  t.true(await pings(pods[0]!, '10.9.0.1'));
  t.true(await pings(pods[0]!, '10.9.0.4'), 'one that is not isolated');
  t.false(await pings(pods[0]!, '10.9.0.3'));
  const taken = await codeOf(add('c9', pods[0]!));
  t.regex(taken, /^101 .*eth0 in .* or veth[0-9a-f]{8} on the host exists already; detach c9 first/);
  await del('c9', pods[0]!);
  t.true(await pings(pods[0]!, '10.9.0.1'), 'what another attachment has stays');
});

test('ipMasq by nftables: traffic, another ADD of the same, DEL and GC; the table is the reference plugins’', async (t) => {
  const { host, caller, conf, request, add, del, ipam } = await setUp(t);
  const outside = await createTestNetns(t, 'outside');
  await host.ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside.name);
  await host.ip('address', 'add', '192.0.2.1/24', 'dev', 'up0');
  await host.ip('link', 'set', 'up0', 'up');
  await outside.ip('address', 'add', '192.0.2.2/24', 'dev', 'eth0');
  await outside.ip('link', 'set', 'eth0', 'up');
  const [one, two] = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
  const keys = {
    isDefaultGateway: true,
    ipMasq: true,
    ipMasqBackend: 'nftables',
    ipam: ipam('10.9.0.0/24', 'fd00:9::/64'),
  };
  await add('one', one, keys);
  await add('two', two, keys);
  t.true(await pings(one, '192.0.2.2'));
  const rules = async () =>
    (await host.run('nft', ['list', 'chain', 'inet', 'cni_plugins_masquerade', 'masq_checks']))
      .split('\n')
      .filter((line) => line.includes('masquerade comment'))
      .map((line) => line.trim().replace(/comment .*/, ''));
  t.deepEqual(await rules(), [
    'ip saddr 10.9.0.2 ip daddr != 10.9.0.0/24 masquerade ',
    'ip6 saddr fd00:9::2 ip6 daddr != fd00:9::/64 masquerade ',
    'ip saddr 10.9.0.3 ip daddr != 10.9.0.0/24 masquerade ',
    'ip6 saddr fd00:9::3 ip6 daddr != fd00:9::/64 masquerade ',
  ]);
  await del('one', one, keys);
  t.is((await rules()).length, 2);
  await add('one', one, keys);
  await caller.gc([{ containerId: 'one', ifname: 'eth0' }], { conf: conf(keys) });
  t.deepEqual(await rules(), [
    'ip saddr 10.9.0.4 ip daddr != 10.9.0.0/24 masquerade ',
    'ip6 saddr fd00:9::4 ip6 daddr != fd00:9::/64 masquerade ',
  ]);
  // A host that has switched the backend since: DEL knows both.
  await caller.del(request('one', one), { conf: conf({ ...keys, ipMasqBackend: 'iptables' }) });
  t.deepEqual(await rules(), []);
});

test('GC of iptables’ masquerade and of spoof checks spares other networks', async (t) => {
  const { host, caller, conf, add } = await setUp(t);
  const [one, two] = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
  const keys = { ipMasq: true, ipMasqBackend: 'iptables', macspoofchk: true };
  await add('one', one, keys);
  await add('two', two, { ...keys, name: 'other' });
  await caller.gc([], { conf: conf(keys) });
  const nat = await host.run('iptables', ['-t', 'nat', '-S']);
  t.notRegex(nat, /id: \\"one\\"/);
  t.is(nat.match(/-A.*id: \\"two\\"/g)?.length, 3);
  const checks = await host.run('nft', ['list', 'table', 'bridge', 'nat']);
  t.notRegex(checks, /one-eth0/);
  t.regex(checks, /cni-br-iface-two-eth0-mac/);
});

test('duplicate detection, a container interface that stays down, MTU and dns are as configured', async (t) => {
  const { add, caller, conf, request, codeOf, ipam } = await setUp(t);
  const [one, two] = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
  const detecting = { enabledad: true, ipam: ipam('fd00:9::/64'), dns: { nameservers: ['fd00:9::1'] } };
  const { dns, ips } = await add('one', one, detecting);
  t.deepEqual([dns, ips[0]!.gateway], [{ nameservers: ['fd00:9::1'] }, 'fd00:9::1']);
  t.notRegex(await one.ip('-6', 'address', 'show', 'dev', 'eth0', 'scope', 'global'), /nodad/);
  const down = { ipam: {}, isGateway: false, disableContainerInterface: true };
  const result = await add('two', two, down);
  t.deepEqual([result.ips, result.routes], [[], []]);
  t.notRegex(await two.ip('link', 'show', 'eth0'), /[<,]UP/);
  await caller.check(request('two', two), { conf: conf(down), previous: result });
  t.regex(await codeOf(add('three', two, { disableContainerInterface: true })), /^7 .*cannot use IPAM/);
});

test('bad input has codes and names what is wrong; nothing half-made remains', async (t) => {
  const { host, add, codeOf, leases, ipam } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  await host.ip('link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire1');
  await host.ip('link', 'add', 'busy', 'type', 'bridge');
  await host.ip('address', 'add', '10.9.0.77/24', 'dev', 'busy');
  const cases: [object, RegExp][] = [
    [{ bridge: 'wire0' }, /^7 .*wire0 exists and is no bridge \(veth\)/],
    [{ bridge: 'busy' }, /^7 .*"busy" already has an IP address different from 10\.9\.0\.1\/24: 10\.9\.0\.77\/24/],
    [{ ipMasq: true, ipMasqBackend: 'ipfw' }, /^7 .*unknown ipmasq backend "ipfw"/],
    [{ hairpinMode: true, promiscMode: true }, /^7 .*hairpin mode and promiscuous mode/],
    [{ vlan: 5000 }, /^7 .*invalid VLAN ID 5000/],
    [{ vlanTrunk: [{ minID: 3 }] }, /^7 .*maxID is missing/],
    [{ vlanTrunk: [{ minID: 9, maxID: 3 }] }, /^7 .*minID is greater than maxID/],
    [{ vlanTrunk: [{ id: 0 }] }, /^7 .*incorrect trunk id parameter/],
    [{ runtimeConfig: { mac: 'nonsense' } }, /^7 .*"nonsense" is no MAC address/],
    [{ mtu: 'large' }, /^7 .*mtu: "large" is not/],
    [{ isGateway: 'yes' }, /^7 .*isGateway: "yes" is not true or false/],
    [{ type: 'ptp', ipam: {} }, /^7 .*ptp: ipam\.type is missing/],
    [
      { type: 'ptp', ipam: { type: 'static', addresses: [{ address: '10.9.0.9/24' }] } },
      /^7 .*10\.9\.0\.9\/24 has no gateway/,
    ],
    [
      {
        ipam: {
          type: 'static',
          addresses: [{ address: '10.8.0.9/24' }],
          routes: [{ dst: '10.1.0.0/16', gw: '10.77.0.1' }],
        },
      },
      /^5 .*10\.1\.0\.0\/16/,
    ],
    [{}, /^7 .*a route of the host is in the way of 10\.9\.0\.\d+\/24/],
  ];
  for (const [keys, expected] of cases) {
    t.regex(await codeOf(add('one', pod, keys)), expected);
    t.deepEqual(
      (await pod.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname),
      ['lo'],
      JSON.stringify(keys),
    );
  }
  t.deepEqual(leases(), []);
  t.deepEqual(
    (await host.ipJson<{ ifname: string }>('link', 'show', 'type', 'veth')).map(({ ifname }) => ifname).sort(),
    ['wire0', 'wire1'],
  );
  await add('one', pod, { bridge: 'busy', forceAddress: true, ipam: ipam('10.9.0.0/24') });
  t.regex(await host.ip('address', 'show', 'busy'), /10\.9\.0\.1\/24/);
  t.notRegex(await host.ip('address', 'show', 'busy'), /10\.9\.0\.77/);
});
