import test from 'ava';
import { withDefaultRoutes, withGatewayAddresses } from '../../../cni/plugins/gateways.ts';
import { idsWithoutPort, renderSpoofCheck, renderSpoofCheckRemoval } from '../../../cni/plugins/mac-spoof-check.ts';
import { parseVlans } from '../../../cni/programs/vlans.ts';
import type { CniError } from '../../../cni/types.ts';
import { readFields } from '../../../cni/wire/fields.ts';
import type { NftObject } from '../../../src/netfilter/nft.ts';

const vlans = (raw: object) => parseVlans(readFields(raw as Record<string, unknown>));

test('VLANs: access, trunk ranges merged, nothing without a VLAN', (t) => {
  t.is(vlans({ vlan: 0, vlanTrunk: [], preserveDefaultVlan: true }), undefined);
  t.deepEqual(vlans({ vlan: 7 }), { access: 7, trunk: [], preserveDefault: false });
  const trunk = [{ id: 30 }, { minID: 5, maxID: 9 }, { minID: 8, maxID: 12, id: 13 }, { id: 1 }];
  t.deepEqual(vlans({ vlanTrunk: trunk, preserveDefaultVlan: true }), {
    access: undefined,
    trunk: [
      { first: 1, last: 1 },
      { first: 5, last: 13 },
      { first: 30, last: 30 },
    ],
    preserveDefault: true,
  });
});

test('VLANs: what is wrong is named', (t) => {
  const cases: [object, RegExp][] = [
    [{ vlan: 4095 }, /invalid VLAN ID 4095/],
    [{ vlan: -1 }, /vlan: -1/],
    [{ vlanTrunk: [7] }, /vlanTrunk: 7 is no object/],
    [{ vlanTrunk: [{ id: 4095 }] }, /incorrect trunk id parameter/],
    [{ vlanTrunk: [{ minID: 0, maxID: 4 }] }, /incorrect trunk minID parameter/],
    [{ vlanTrunk: [{ maxID: 4 }] }, /minID is missing/],
    [{ vlanTrunk: [{ minID: 5, maxID: 4 }] }, /minID is greater than maxID/],
  ];
  for (const [raw, message] of cases) {
    const error = t.throws(() => vlans(raw), { message }) as CniError;
    t.is(error.code, 7);
  }
});

test('gateways: the first address of a subnet where none is given; a default route for each family that has none', (t) => {
  const ips = withGatewayAddresses([
    { address: '10.9.1.7/23' },
    { address: 'fd00:9::7/64' },
    { address: '10.7.0.2/24', gateway: '10.7.0.254' },
  ]);
  t.deepEqual(
    ips.map(({ gateway }) => gateway),
    ['10.9.0.1', 'fd00:9::1', '10.7.0.254'],
  );
  t.deepEqual(withDefaultRoutes([{ dst: '10.1.0.0/16' }], ips), [
    { dst: '10.1.0.0/16' },
    { dst: '0.0.0.0/0', gw: '10.9.0.1' },
    { dst: '::/0', gw: 'fd00:9::1' },
  ]);
  t.deepEqual(withDefaultRoutes([{ dst: '0.0.0.0/0', gw: '10.9.0.9' }], ips.slice(0, 1)), [
    { dst: '0.0.0.0/0', gw: '10.9.0.9' },
  ]);
});

test('spoof check: chains of one attachment, made anew; those of ports that are gone are found', (t) => {
  const key = { containerId: 'c1', ifname: 'eth0' };
  const jump = (id: string, port: string, handle: number) => ({
    rule: {
      chain: 'PREROUTING',
      comment: `macspoofchk-${id}`,
      handle,
      expr: [{ match: { op: '==', left: { meta: { key: 'iifname' } }, right: port } }, { jump: { target: 'x' } }],
    },
  });
  const objects: NftObject[] = [
    { chain: { name: 'PREROUTING' } },
    { chain: { name: 'cni-br-iface-c1-eth0' } },
    jump('c1-eth0', 'veth1', 5),
    jump('c2-eth0', 'veth2', 6),
    { rule: { chain: 'PREROUTING', handle: 7 } },
  ];
  const script = renderSpoofCheck(key, 'veth1', '0a:00:00:00:00:01', objects).split('\n');
  t.true(script.includes('delete rule bridge nat PREROUTING handle 5'));
  t.true(
    script.includes(
      'add rule bridge nat cni-br-iface-c1-eth0-mac ether saddr 0a:00:00:00:00:01 return comment "macspoofchk-c1-eth0"',
    ),
  );
  t.false(script.some((line) => line.includes('handle 6')));
  t.is(
    renderSpoofCheckRemoval(['c1-eth0'], objects),
    'delete rule bridge nat PREROUTING handle 5\nflush chain bridge nat cni-br-iface-c1-eth0\ndelete chain bridge nat cni-br-iface-c1-eth0\n',
  );
  t.is(renderSpoofCheckRemoval(['c9-eth0'], objects), '');
  t.deepEqual(idsWithoutPort(new Set(['veth1']), objects), ['c2-eth0']);
});
