import test from 'ava';
import type { Peer } from '../../../cni/overlay/backend.ts';
import { readBackendFields } from '../../../cni/overlay/backend-fields.ts';
import { readVtepMac } from '../../../cni/overlay/vxlan/backend-data.ts';
import { isBroken } from '../../../cni/overlay/vxlan/checksum-guard.ts';
import { readVxlanOptions } from '../../../cni/overlay/vxlan/options.ts';
import { computeLeg } from '../../../cni/overlay/vxlan/peer-plan.ts';

const options = (raw: Record<string, unknown>) => readVxlanOptions(readBackendFields(raw, 'net-conf.json'));

test("options: flannel's keys and defaults, and what they may not be", (t) => {
  t.deepEqual(options({ Type: 'vxlan' }), {
    vni: 1,
    port: 0,
    mtu: 0,
    groupPolicy: false,
    learning: false,
    directRouting: false,
    txChecksumOffload: 'auto',
  });
  t.like(options({ VNI: 4096, Port: 4789, MTU: 1400, GBP: true, Learning: true, DirectRouting: true }), {
    vni: 4096,
    port: 4789,
    mtu: 1400,
    groupPolicy: true,
    learning: true,
    directRouting: true,
  });
  for (const [raw, said] of [
    [{ VNI: 16_777_216 }, /Backend\.VNI: 16777216 is not a whole number from 1 to 16777215/],
    [{ VNI: 0 }, /Backend\.VNI: 0 is not/],
    [{ Port: '8472' }, /Backend\.Port: "8472" is not/],
    [{ DirectRouting: 'yes' }, /Backend\.DirectRouting: "yes" is not true or false/],
    [{ TxChecksumOffload: 'maybe' }, /Backend\.TxChecksumOffload: "maybe" is not one of auto, on, off/],
  ] as const)
    t.throws(() => options(raw), { message: said });
});

test("a peer's data: its MAC in one spelling, or what is wrong with it", (t) => {
  t.deepEqual(readVtepMac({ VNI: 1, VtepMAC: '0A:BC:00:00:00:01' }, 1), { mac: '0a:bc:00:00:00:01' });
  t.deepEqual(readVtepMac({ VtepMAC: '0a:bc:00:00:00:01' }, 1), { mac: '0a:bc:00:00:00:01' });
  t.deepEqual(readVtepMac({ VNI: 70_000 - 65_536, VtepMAC: '0a:bc:00:00:00:01' }, 70_000), {
    mac: '0a:bc:00:00:00:01',
  });
  for (const data of [
    undefined,
    null,
    'text',
    [],
    {},
    { VtepMAC: 7 },
    { VtepMAC: '' },
    { VtepMAC: '00:00:00:00:00:00' },
    { VtepMAC: 'ff:ff:ff:ff:ff:ff' },
    { VtepMAC: '33:33:00:00:00:01' },
    { VtepMAC: '0a:bc:00:00:00:01\n' },
    { VNI: 2, VtepMAC: '0a:bc:00:00:00:01' },
    { VNI: '1', VtepMAC: '0a:bc:00:00:00:01' },
  ])
    t.true('reason' in readVtepMac(data, 1), JSON.stringify(data));
});

test('a leg: through the tunnel, directly, or not at all', (t) => {
  const peer: Peer = {
    node: 'node2',
    podCidrs: { 4: '10.244.2.0/24', 6: 'fd00:2::/64' },
    publicIps: { 4: '192.0.2.2', 6: '2001:db8::2' },
    backendType: 'vxlan',
    backendData: { 4: { VtepMAC: '02:00:00:00:00:02' }, 6: { VtepMAC: '02:00:00:00:00:06' } },
  };
  const own = { vni: 1, mac: '02:00:00:00:00:01' };
  t.deepEqual(computeLeg(peer, 4, { ...own, linkIndex: 5 }), {
    tunnel: { linkIndex: 5, address: '10.244.2.0', mac: '02:00:00:00:00:02', destination: '192.0.2.2' },
    route: { destination: '10.244.2.0/24', gateway: '10.244.2.0', linkIndex: 5, onlink: true },
  });
  t.deepEqual(computeLeg(peer, 6, { ...own, linkIndex: 6 }), {
    tunnel: { linkIndex: 6, address: 'fd00:2::', mac: '02:00:00:00:00:06', destination: '2001:db8::2' },
    route: { destination: 'fd00:2::/64', gateway: 'fd00:2::', linkIndex: 6, onlink: true },
  });
  t.deepEqual(computeLeg(peer, 4, { ...own, linkIndex: 5, directLinkIndex: 2 }), {
    route: { destination: '10.244.2.0/24', gateway: '192.0.2.2', linkIndex: 2 },
  });
  t.deepEqual(computeLeg({ ...peer, podCidrs: {} }, 4, { ...own, linkIndex: 5 }), {});
  // A machine cloned with its device: its packets would be dropped here, in silence.
  const clone = { vni: 1, mac: '02:00:00:00:00:02', linkIndex: 5 };
  t.regex(computeLeg(peer, 4, clone).reason ?? '', /VtepMAC 02:00:00:00:00:02 is this node's own too/);
  t.truthy(computeLeg(peer, 4, { ...clone, directLinkIndex: 2 }).route, 'without a tunnel MACs do not matter');
});

test('R16: kernels before 5.7 break checksums of what is masqueraded', (t) => {
  for (const old of ['3.10.0-1160.el7.x86_64', '4.19.0-27-amd64', '5.4.0-1', '5.6.19']) t.true(isBroken(old), old);
  for (const good of ['5.7.0', '5.10.0-28-amd64', '6.18.44-fc', '10.0.1']) t.false(isBroken(good), good);
});
