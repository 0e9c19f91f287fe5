import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { readBackendFields } from '../../../../cni/overlay/backend-fields.ts';
import { netConfOf, parseNetConf } from '../../../../cni/overlay/net-conf.ts';
import { removeSubnetFile, renderSubnetFile, writeSubnetFile } from '../../../../cni/overlay/subnet-file.ts';
import { computeUplink, type HostLinks, type UplinkChoice } from '../../../../cni/overlay/uplink.ts';
import type { Link } from '../../../../src/linux/netlink/links.ts';
import type { Route } from '../../../../src/linux/netlink/routes.ts';

const parse = (value: unknown) => parseNetConf(JSON.stringify(value), 'net-conf.json');

test('net-conf.json: flannel’s own, in its spelling and in others', (t) => {
  const { conf, unknown } = parse({ Network: '10.244.0.0/16', Backend: { Type: 'vxlan', VNI: 7 } });
  t.deepEqual(conf.networks, { 4: '10.244.0.0/16' });
  t.deepEqual(conf.backend, { type: 'vxlan', raw: { Type: 'vxlan', VNI: 7 } });
  t.deepEqual(unknown, []);
  const both = parse({
    network: '10.244.9.0/16',
    IPv6Network: 'fd00:10::/56',
    EnableIPv6: true,
    EnableNFTables: true,
    SubnetLen: 24,
    Colour: 'blue',
    backend: { type: 'host-gw' },
  });
  t.deepEqual(both.conf.networks, { 4: '10.244.0.0/16', 6: 'fd00:10::/56' });
  t.deepEqual(both.unknown, ['Colour']);
});

for (const [what, text, message] of [
  ['no JSON', '{"Network":', /^net-conf\.json: is no JSON: /],
  ['a list', '[]', /^net-conf\.json: is no JSON object$/],
  ['no network', '{}', /Network is missing: a CIDR such as 10\.244\.0\.0\/16/],
  ['a network that is none', '{"Network":"10.244.0.0"}', /Network: "10\.244\.0\.0" is not a CIDR/],
  ['a network of the other family', '{"Network":"fd00::/48"}', /Network: "fd00::\/48" is not a CIDR such as 10/],
  ['IPv6 without a network', '{"Network":"10.0.0.0/8","EnableIPv6":true}', /IPv6Network is missing/],
  ['no family', '{"EnableIPv4":false}', /both false/],
  ['a flag in quotes', '{"Network":"10.0.0.0/8","EnableIPv6":"yes"}', /EnableIPv6: "yes" is not true or false/],
  [
    'a backend of another world',
    '{"Network":"10.0.0.0/8","Backend":{"Type":"gce"}}',
    /Backend\.Type: "gce" is not one of host-gw, /,
  ],
  ['a backend that is a text', '{"Network":"10.0.0.0/8","Backend":"vxlan"}', /Backend: "vxlan" is not an object/],
] as [string, string, RegExp][])
  test(`net-conf.json with ${what} is refused by name`, (t) => {
    t.throws(() => parseNetConf(text, 'net-conf.json'), { message, name: 'ExplainedError' });
  });

test('a backend’s options: numbers, flags and words within their bounds, in any case; what nobody reads is told', (t) => {
  const fields = readBackendFields({ Type: 'x', vni: 5, Learning: true, Mode: 'auto', Typo: 1 }, 'net-conf.json');
  t.is(fields.whole('VNI', { min: 1, max: 9, otherwise: 1 }), 5);
  t.is(fields.whole('Port', { min: 0, max: 65535, otherwise: 0 }), 0);
  t.true(fields.flag('Learning'));
  t.is(fields.oneOf('Mode', ['auto', 'separate'], 'separate'), 'auto');
  t.deepEqual(fields.unread(), ['Typo']);
  const read = (raw: Record<string, unknown>) => readBackendFields(raw, 'net-conf.json');
  t.throws(() => read({ VNI: 0 }).whole('VNI', { min: 1, max: 9, otherwise: 1 }), {
    message: 'net-conf.json: Backend.VNI: 0 is not a whole number from 1 to 9',
  });
  t.throws(() => read({ VNI: '1' }).whole('VNI', { min: 1, max: 9, otherwise: 1 }), { message: /"1" is not a whole/ });
  t.throws(() => read({ Mode: 'x' }).oneOf('Mode', ['a', 'b'], 'a'), { message: /"x" is not one of a, b/ });
  t.throws(() => read({ PSK: 1 }).text('PSK'), { message: /1 is not a text/ });
});

test('flags alone: one range, or one of each family', (t) => {
  t.deepEqual(netConfOf('10.244.0.0/16,fd00::/48', 'host-gw', 'x').networks, { 4: '10.244.0.0/16', 6: 'fd00::/48' });
  t.throws(() => netConfOf('10.244.0.0', 'host-gw', '--cluster-cidr'), { message: /cluster CIDR: "10\.244\.0\.0"/ });
  t.throws(() => netConfOf('10.244.0.0/16', 'weave', '--backend weave'), { message: /"weave" is not one of/ });
});

const link = (index: number, name: string, more: Partial<Link> = {}) =>
  ({ index, name, mtu: 1500, loopback: name === 'lo', up: true, running: true, ...more }) as Link;
const address = (linkIndex: number, text: string, scope: 'global' | 'link' | 'host' = 'global', flags = 0) => ({
  linkIndex,
  address: text,
  scope,
  flags,
});
const route = (destination: string, linkIndex: number, metric = 0) =>
  ({ family: destination.includes(':') ? 6 : 4, type: 'unicast', destination, linkIndex, metric, table: 254 }) as Route;

const HOST: HostLinks = {
  links: [link(1, 'lo'), link(2, 'eth0'), link(3, 'eth1', { mtu: 9000 }), link(4, 'cni0')],
  addresses: [
    address(1, '127.0.0.1/8', 'host'),
    address(2, '192.0.2.1/24'),
    address(2, '192.0.2.11/24'),
    address(2, 'fe80::1/64', 'link'),
    address(2, '2001:db8::dead/64', 'global', 0x40),
    address(2, '2001:db8::7e39/64', 'global', 0x01),
    address(2, '2001:db8::2/64', 'global', 0x08),
    address(2, '2001:db8::1/64'),
    address(3, '198.51.100.1/24'),
  ],
  routes: [
    route('0.0.0.0/0', 3, 200),
    route('0.0.0.0/0', 2, 100),
    route('198.51.100.0/24', 3),
    route('192.0.2.0/24', 2),
    route('203.0.113.0/24', 3),
    route('::/0', 2),
  ],
};
const NOTHING: UplinkChoice = { ifaces: [], ifaceRegexes: [], publicIps: {}, nodeIps: [], preferNodeIps: false };
const choose = (choice: Partial<UplinkChoice>, families: (4 | 6)[] = [4], host = HOST) =>
  computeUplink(host, { ...NOTHING, ...choice }, families);

test('uplink: the default route’s with the best metric, its first address; IPv6 that is not ready, or another tomorrow, is none', (t) => {
  t.deepEqual(choose({}, [4, 6]), {
    name: 'eth0',
    index: 2,
    mtu: 1500,
    addresses: { 4: '192.0.2.1', 6: '2001:db8::1' },
    publicIps: { 4: '192.0.2.1', 6: '2001:db8::1' },
    subnets: ['192.0.2.0/24', '2001:db8::/64'],
  });
});

test('uplink: by name, by address, by expression, by whom it reaches, by the node’s own address', (t) => {
  const picked = (choice: Partial<UplinkChoice>) => {
    const { name, addresses } = choose(choice);
    return `${name} ${addresses[4]}`;
  };
  t.is(picked({ ifaces: ['eth7', 'eth1'] }), 'eth1 198.51.100.1');
  t.is(picked({ ifaces: ['192.0.2.11'] }), 'eth0 192.0.2.11');
  t.is(picked({ ifaceRegexes: [/^198\.51/] }), 'eth1 198.51.100.1');
  t.is(picked({ ifaceRegexes: [/^nothing$/, /^eth1$/] }), 'eth1 198.51.100.1');
  t.is(picked({ ifaceCanReach: '203.0.113.9' }), 'eth1 198.51.100.1');
  t.is(picked({ nodeIps: ['198.51.100.1'] }), 'eth0 192.0.2.1', 'flanneld takes the default route');
  t.is(picked({ nodeIps: ['10.9.9.9', '198.51.100.1'], preferNodeIps: true }), 'eth1 198.51.100.1');
  t.is(picked({ nodeIps: ['192.0.2.11'], preferNodeIps: true }), 'eth0 192.0.2.11');
  const isolated = { ...HOST, routes: HOST.routes.filter(({ destination }) => !destination.endsWith('/0')) };
  t.is(choose({ nodeIps: ['198.51.100.1'] }, [4], isolated).name, 'eth1');
  t.deepEqual(choose({ publicIps: { 4: '203.0.113.5' } }).publicIps, { 4: '203.0.113.5' });
});

test('uplink: one that works is kept, whatever else comes; one that does not is left', (t) => {
  const before = choose({});
  const again = (host: Partial<HostLinks>, choice: Partial<UplinkChoice> = {}) => {
    const { name, addresses } = computeUplink({ ...HOST, ...host }, { ...NOTHING, ...choice }, [4], before);
    return `${name} ${addresses[4]}`;
  };
  const vpn = [route('0.0.0.0/0', 3, 50), ...HOST.routes];
  t.is(again({ routes: vpn }), 'eth0 192.0.2.1', 'a VPN takes the default route');
  t.is(again({ routes: [] }), 'eth0 192.0.2.1', 'the default route is gone for a moment');
  const second = [address(2, '192.0.2.100/32'), ...HOST.addresses];
  t.is(again({ addresses: second }), 'eth0 192.0.2.1', 'another address comes first');
  const named = (changed: Link) => HOST.links.map((one) => (one.index === changed.index ? changed : one));
  t.is(again({ links: named(link(2, 'ens9')) }), 'ens9 192.0.2.1');
  const moved = HOST.addresses.filter((one) => one.address !== '192.0.2.1/24');
  t.is(again({ addresses: moved }), 'eth0 192.0.2.11', 'its address went');
  t.is(again({ routes: vpn, addresses: moved }), 'eth1 198.51.100.1');
  for (const broken of [{ running: false }, { up: false }])
    t.is(again({ routes: vpn, links: named(link(2, 'eth0', broken)) }), 'eth1 198.51.100.1', 'its cable is out');
  t.is(again({}, { ifaces: ['eth1'] }), 'eth1 198.51.100.1', 'what was asked for stands above');
  t.is(again({}, { nodeIps: ['198.51.100.1'], preferNodeIps: true }), 'eth1 198.51.100.1');
  t.is(again({}, { nodeIps: ['192.0.2.11'] }), 'eth0 192.0.2.1');
  const onSecond = choose({}, [4], { ...HOST, routes: vpn });
  const back = (nodeIps: string[]) => computeUplink(HOST, { ...NOTHING, nodeIps }, [4], onSecond).name;
  t.is(back(['192.0.2.1']), 'eth0', 'the first cable is in again');
  t.is(back([]), 'eth1');
  t.is(again({}, { nodeIps: ['192.0.2.11'], preferNodeIps: true }), 'eth0 192.0.2.11');
});

test('uplink: what is not there is refused, with the flag and what there is', (t) => {
  t.throws(() => choose({ ifaces: ['eth7'] }), {
    message: /^--iface eth7: this host has no such link or address \(links: eth0: 192\.0\.2\.1\/24 .*; cni0\)$/,
  });
  t.throws(() => choose({ ifaceRegexes: [/^x$/] }), { message: /^--iface-regex \^x\$: / });
  t.throws(() => choose({ ifaces: ['eth1'] }, [4, 6]), { message: /^link eth1 has no IPv6 address/ });
  t.throws(() => choose({}, [4], { ...HOST, routes: [] }), { message: /no default route.*--iface/ });
});

test('subnet.env: flannel’s lines; written whole, only when it differs, with the mode that it has', (t) => {
  const facts = { networks: { 4: '10.244.0.0/16' }, podCidrs: { 4: '10.244.1.0/24' }, mtu: 1450, ipMasq: true };
  const text = renderSubnetFile(facts);
  t.is(text, 'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n');
  t.is(
    renderSubnetFile({ ...facts, networks: { 6: 'fd00:10::/56' }, podCidrs: { 6: 'fd00:10:0:1::/64' }, ipMasq: false }),
    'FLANNEL_IPV6_NETWORK=fd00:10::/56\nFLANNEL_IPV6_SUBNET=fd00:10:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n',
  );
  const directory = mkdtempSync(join(tmpdir(), 'subnet-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'flannel/subnet.env');
  t.true(writeSubnetFile(path, text));
  t.is(statSync(path).mode & 0o777, 0o644);
  t.false(writeSubnetFile(path, text));
  writeFileSync(path, 'torn', { mode: 0o600 });
  rmSync(path);
  writeFileSync(path, 'torn', { mode: 0o600 });
  t.true(writeSubnetFile(path, text));
  t.is(readFileSync(path, 'utf8'), text);
  t.is(statSync(path).mode & 0o777, 0o600);
  removeSubnetFile(path);
  removeSubnetFile(path);
  t.throws(() => statSync(join(directory, 'flannel')));
});
