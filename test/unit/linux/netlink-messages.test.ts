/** Messages as bytes, without a kernel: what is encoded must read back the same. The contract test shows that the kernel agrees. */
import test from 'ava';
import { decodeAddress, encodeAddress } from '../../../src/linux/netlink/addresses.ts';
import { decodeLink, encodeLinkChange, encodeVeth, formatMac, parseMac } from '../../../src/linux/netlink/links.ts';
import { decodeNeighbour, encodeNeighbour } from '../../../src/linux/netlink/neighbours.ts';
import { decodeRoute, defaultDestination, encodeRoute, type RouteSpec } from '../../../src/linux/netlink/routes.ts';

test('address: prefix, scope and broadcast', (t) => {
  const decode = (address: string) => decodeAddress(Buffer.concat(encodeAddress({ linkIndex: 7, address })));
  t.like(decode('10.244.1.1/24'), {
    linkIndex: 7,
    address: '10.244.1.1/24',
    scope: 'global',
    broadcast: '10.244.1.255',
  });
  t.like(decode('10.0.0.1/31'), { broadcast: undefined });
  t.like(decode('127.0.0.1/8'), { scope: 'host', broadcast: undefined });
  t.like(decode('fd00::1/64'), { address: 'fd00::1/64', flags: 2 });
  t.is(decodeAddress(Buffer.alloc(8)), undefined, 'another family');
});

const ROUTES: [string, RouteSpec, object][] = [
  ['default', { destination: '0.0.0.0/0', gateway: '10.0.0.1' }, { gateway: '10.0.0.1', scope: 0, protocol: 4 }],
  ['to a link', { destination: '10.1.0.0/16', linkIndex: 3, source: '10.1.0.1' }, { scope: 253, source: '10.1.0.1' }],
  ['unreachable', { type: 'unreachable', destination: '10.244.0.0/16', metric: 4_278_198_272 }, { scope: 0 }],
  ['big table', { destination: '10.1.0.0/16', linkIndex: 3, table: 70_000 }, { table: 70_000 }],
  ['onlink', { destination: '10.1.0.0/16', gateway: '10.1.0.0', linkIndex: 3, onlink: true }, { onlink: true }],
  ['IPv6', { destination: 'fd00::/64', gateway: 'fe80::1', linkIndex: 3 }, { family: 6, gateway: 'fe80::1' }],
];
for (const [what, spec, expected] of ROUTES)
  test(`route: ${what}`, (t) => {
    const route = decodeRoute(Buffer.concat(encodeRoute(spec, 'add')));
    t.like(route, {
      destination: spec.destination,
      type: spec.type ?? 'unicast',
      metric: spec.metric ?? 0,
      ...expected,
    });
  });

test('route: a deletion leaves open what is not said', (t) => {
  const [header] = encodeRoute({ destination: '10.1.0.0/16' }, 'delete');
  t.deepEqual([...header!.subarray(4, 8)], [254, 0, 255, 0], 'table main, any protocol, scope nowhere, any type');
});

test('route: the default of an address’s family', (t) => {
  t.is(defaultDestination('10.0.0.1'), '0.0.0.0/0');
  t.is(defaultDestination('fd00::1'), '::/0');
});

test('neighbour', (t) => {
  const entry = { linkIndex: 4, address: '10.244.2.0', mac: '02:00:00:00:00:01' };
  t.deepEqual(decodeNeighbour(Buffer.concat(encodeNeighbour(entry))), { ...entry, state: 'permanent' });
});

test('link: changes read back; a long alias is cut at 255 bytes, an empty one removes it', (t) => {
  const decode = (change: Parameters<typeof encodeLinkChange>[1]) =>
    decodeLink(Buffer.concat(encodeLinkChange(5, change)));
  t.like(
    decode({ name: 'x', up: true, masterIndex: 9, mtu: 1450, mac: '02:00:00:00:00:01', alias: 'me', hairpin: true }),
    {
      index: 5,
      name: 'x',
      up: true,
      masterIndex: 9,
      mtu: 1450,
      mac: '02:00:00:00:00:01',
      alias: 'me',
      bridgePort: { hairpin: true },
    },
  );
  t.is(decode({ alias: 'x'.repeat(300) }).alias?.length, 255);
  t.is(decode({ alias: '' }).alias, '');
});

test('link: a veth carries its peer inside', (t) => {
  const body = Buffer.concat(
    encodeVeth({ name: 'vethabc', masterIndex: 9, up: true, peer: { name: 'eth0', netnsFd: 42 } }),
  );
  t.like(decodeLink(body), { name: 'vethabc', kind: 'veth', masterIndex: 9, up: true });
  t.true(body.includes('eth0\0'));
});

test('MAC addresses', (t) => {
  t.is(formatMac(parseMac('0A:58:0a:f4:01:05')), '0a:58:0a:f4:01:05');
  for (const bad of ['', '0a:58', '0a:58:0a:f4:01:0g', '0a580af40105']) t.throws(() => parseMac(bad), undefined, bad);
});
