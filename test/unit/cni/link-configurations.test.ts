/** What the configurations of further interfaces may say, and how they are told what they may not. */
import test from 'ava';
import { masterOfChain } from '../../../cni/plugins/master-link.ts';
import { freeTable } from '../../../cni/plugins/vrf.ts';
import { ownPlugins } from '../../../cni/programs/all.ts';
import { CNI_ERROR, type CniError } from '../../../cni/types.ts';
import { parseNetConf } from '../../../cni/wire/net-conf.ts';
import { run } from '../../../src/linux/exec.ts';
import type { Link } from '../../../src/linux/netlink/links.ts';

const plugins = ownPlugins({ run, sleep: async () => {} });

const parse = (type: string, conf: object, args: Record<string, string> = {}) =>
  plugins.get(type)!.parse(parseNetConf(JSON.stringify({ cniVersion: '1.1.0', name: 'net', type, ...conf })), args);

const IPAM = { type: 'host-local' };

test('defaults and keys', (t) => {
  t.like(parse('macvlan', {}), { mode: 'bridge', ipamUsesLink: false, linkInContainer: false });
  t.deepEqual(
    Object.entries(parse('macvlan', {}) as object)
      .filter(([, value]) => value === undefined)
      .map(([key]) => key),
    ['ipam', 'dns', 'master', 'mtu', 'mac', 'broadcastQueueLength'],
  );
  t.like(parse('macvlan', { master: 'up0', mode: 'passthru', bcqueuelen: 5, mtu: 1400, mac: '0A-00-00-00-00-01' }), {
    master: 'up0',
    mode: 'passthru',
    broadcastQueueLength: 5,
    mtu: 1400,
    mac: '0a:00:00:00:00:01',
  });
  t.like(parse('macvlan', { ipam: { type: 'dhcp' } }), { ipamUsesLink: true });
  t.like(parse('macvlan', { dns: { nameservers: ['10.0.0.1'] } }), { dns: { nameservers: ['10.0.0.1'] } });
  t.like(parse('macvlan', { dns: { nameservers: [] } }), { dns: undefined });
  t.like(parse('ipvlan', { ipam: IPAM }), { mode: 'l2' });
  t.like(parse('vlan', { master: 'up0', vlanId: 4094, ipam: IPAM }), { vlanId: 4094 });
  t.like(parse('tap', { owner: 0, multiQueue: true }), { owner: 0, group: undefined, multiQueue: true });
  t.like(parse('vrf', { vrfname: 'red', table: 9 }), { vrfName: 'red', table: 9 });
  t.like(parse('sbr', { table: 0 }), { table: 0 });
  t.like(parse('host-device', { hwaddr: '0A:00:00:00:00:01' }), { selector: { mac: '0a:00:00:00:00:01' } });
});

test('tuning: the runtime’s MAC above the arguments’ above the file’s; a container’s own arguments above all', (t) => {
  const file = { mac: '0a:00:00:00:00:01', mtu: 1, sysctl: { 'net.a': '1', 'net.b': '1' } };
  t.like(parse('tuning', file), { mac: '0a:00:00:00:00:01', mtu: 1, dataDir: '/run/cni/tuning', promiscuous: false });
  const args = { MAC: '0a:00:00:00:00:02' };
  t.like(parse('tuning', file, args), { mac: '0a:00:00:00:00:02' });
  const told = { ...file, runtimeConfig: { mac: '0a:00:00:00:00:03' } };
  t.like(parse('tuning', told, args), { mac: '0a:00:00:00:00:03' });
  const cni = { mac: '0a:00:00:00:00:04', mtu: 2, promisc: true, allmulti: false, txQLen: 0, sysctl: { 'net.b': '2' } };
  t.like(parse('tuning', { ...told, args: { cni } }, args), {
    mac: '0a:00:00:00:00:04',
    mtu: 2,
    promiscuous: true,
    allMulticast: false,
    txQueueLength: 0,
    sysctls: { 'net.a': '1', 'net.b': '2' },
  });
});

test('what cannot be is refused with key and value', (t) => {
  for (const [type, conf, message, code = CNI_ERROR.invalidNetworkConfig] of [
    ['macvlan', { mode: 'source' }, /unknown macvlan mode: "source"/],
    ['macvlan', { mtu: '1400' }, /mtu: "1400" is not a size in bytes/],
    ['macvlan', { master: 7 }, /master: 7 is not a text/],
    ['macvlan', { linkInContainer: 'yes' }, /linkInContainer: "yes" is not true or false/],
    ['macvlan', { runtimeConfig: { mac: 'x' } }, /mac: "x" is no MAC/],
    ['macvlan', { dns: 'x' }, /dns: "x" is not an object/],
    ['macvlan', { dns: { nameservers: '10.0.0.10' } }, /nameservers: "10.0.0.10" is not a list of texts/],
    ['macvlan', { dns: { search: [7] } }, /search: \[7\] is not a list of texts/],
    ['macvlan', { mac: '01:00:5e:00:00:07' }, /mac: "01:00:5e:00:00:07" is no MAC of one interface/],
    ['macvlan', { mac: '00:00:00:00:00:00' }, /mac: "00:00:00:00:00:00" is no MAC of one interface/],
    ['ipvlan', { mode: 'L2' }, /unknown ipvlan mode: "L2"/],
    ['vlan', { master: 'up0', vlanId: 4095, ipam: IPAM }, /invalid VLAN ID 4095/],
    ['vlan', { master: 'up0', vlanId: -1, ipam: IPAM }, /vlanId: -1 is not/],
    ['vlan', { vlanId: 7, ipam: IPAM }, /"master" field is required/],
    ['vlan', { master: 'up0', vlanId: 7 }, /ipam.type is missing/],
    ['dummy', {}, /dummy: ipam.type is missing/],
    ['tap', { selinuxContext: 'a:b' }, /selinuxContext is not supported/, CNI_ERROR.unsupportedField],
    ['vrf', {}, /vrfname/],
    ['sbr', { gateways: ['nowhere'] }, /gateways: "nowhere" is no IP address/],
    ['sbr', { gateways: ['10.0.0.1', '10.0.0.2'] }, /at most one IPv4 and one IPv6/],
    ['sbr', { table: -5 }, /table: -5 is not/],
    ['tuning', { sysctl: { 'net.a': 1 } }, /sysctl: net.a: 1 is not a text/],
    ['tuning', { sysctl: ['net.a'] }, /sysctl: \["net.a"\] is not an object/],
    ['tuning', { args: { cni: { mac: 'x' } } }, /args.cni.mac: "x" is no MAC/],
    ['host-device', {}, /specify either/],
    ['host-device', { hwaddr: 'x' }, /hwaddr: "x" is no MAC/],
  ] as [string, object, RegExp, number?][]) {
    const error = t.throws<CniError>(() => parse(type, conf), { message });
    t.is(error?.code, code, message.source);
  }
  t.is(t.throws<CniError>(() => parse('macvlan', {}, { FOO: '1' }))?.code, CNI_ERROR.invalidEnvironment);
  t.notThrows(() => parse('macvlan', {}, { FOO: '1', IgnoreUnknown: 'true' }));
  t.notThrows(() => parse('macvlan', {}, { K8S_POD_NAME: 'x' }));
});

test('the master of a chain is its only link; the first table that no VRF has', (t) => {
  const result = (names: string[]) => ({
    interfaces: names.map((name) => ({ name, sandbox: '' })),
    ips: [],
    routes: [],
  });
  t.is(masterOfChain(result(['eni0'])), 'eni0');
  for (const names of [[], ['a', 'b']])
    t.throws(() => masterOfChain(result(names)), { message: /lacks a single named interface/ });
  const vrf = (table: number) =>
    ({ kind: 'vrf', data: new Map([[1, Buffer.from(Uint32Array.of(table).buffer)]]) }) as unknown as Link;
  t.is(freeTable([]), 1);
  t.is(freeTable([vrf(2), vrf(1), {} as Link]), 3);
});
