import test from 'ava';
import { UserError } from '../../../cli/output/failure.ts';
import { parseNodeIdentity, parseNodeIps } from '../../../cli/preflight/node-identity.ts';

test('addresses of a node: one, or one of each family', (t) => {
  t.deepEqual(parseNodeIps('192.0.2.1'), ['192.0.2.1']);
  t.deepEqual(parseNodeIps('2001:db8::1, 192.0.2.1'), ['2001:db8::1', '192.0.2.1']);
});

for (const [text, why] of [
  ['', /"" is no IP address/],
  ['192.0.2', /"192\.0\.2" is no IP address/],
  ['127.0.0.1', /a loopback address/],
  ['0.0.0.0', /a unspecified address/],
  ['224.0.0.1', /a multicast address/],
  ['fe80::1', /a linkLocal address/],
  ['192.0.2.1,192.0.2.2', /one IPv4 and one IPv6 address/],
  ['192.0.2.1,2001:db8::1,2001:db8::2', /one IPv4 and one IPv6 address/],
] as const)
  test(`refused as a node's address: ${text}`, (t) => {
    t.throws(() => parseNodeIps(text), { instanceOf: UserError, message: why });
  });

test('labels and the cloud of a node', (t) => {
  t.deepEqual(parseNodeIdentity({}), { nodeLabels: {}, hasExternalCloud: false });
  t.deepEqual(parseNodeIdentity({ nodeLabels: 'disk=ssd', cloudProvider: 'external' }), {
    nodeLabels: { disk: 'ssd' },
    hasExternalCloud: true,
  });
  t.throws(() => parseNodeIdentity({ cloudProvider: 'aws' }), { instanceOf: UserError, message: /accepted: external/ });
  t.throws(() => parseNodeIdentity({ nodeLabels: 'x' }), { instanceOf: UserError, message: /accepted: key=value/ });
});
