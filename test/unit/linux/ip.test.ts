import test from 'ava';
import {
  formatIp,
  formatPrefix,
  lastAddressOf,
  networkOf,
  parseIp,
  parsePrefix,
  prefixContains,
  prefixesOverlap,
} from '../../../src/linux/ip.ts';

test('addresses: canonical forms in and out', (t) => {
  t.deepEqual([...parseIp('10.244.1.5')], [10, 244, 1, 5]);
  t.is(formatIp(parseIp('FD00:0:0::1')), 'fd00::1');
  for (const bad of ['10.1', '010.1.1.1', '0x0a.1.1.1', '1.2.3.256', '', 'a', '1.2.3.4/8', ':'])
    t.throws(() => parseIp(bad), { message: /is no IP address/ }, bad);
});

test('prefixes', (t) => {
  t.deepEqual(parsePrefix('10.244.1.5/24'), { family: 4, address: parseIp('10.244.1.5'), prefixLength: 24 });
  t.is(formatPrefix(networkOf(parsePrefix('10.244.1.5/20'))), '10.244.0.0/20');
  t.is(formatPrefix(networkOf(parsePrefix('fd00::1:2/64'))), 'fd00::/64');
  t.is(formatPrefix(networkOf(parsePrefix('1.2.3.4/0'))), '0.0.0.0/0');
  t.is(formatIp(lastAddressOf(parsePrefix('10.244.1.5/24'))), '10.244.1.255');
  for (const bad of ['10.0.0.0', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/', '::/129']) t.throws(() => parsePrefix(bad));
});

test('containment and overlap', (t) => {
  const outer = parsePrefix('10.244.0.0/16');
  t.true(prefixContains(outer, parsePrefix('10.244.3.0/24')));
  t.true(prefixContains(outer, parseIp('10.244.255.255')));
  t.false(prefixContains(outer, parseIp('10.245.0.0')));
  t.false(prefixContains(outer, parsePrefix('10.0.0.0/8')));
  t.false(prefixContains(outer, parseIp('fd00::1')));
  t.true(prefixesOverlap(outer, parsePrefix('10.0.0.0/8')));
  t.false(prefixesOverlap(outer, parsePrefix('10.96.0.0/12')));
});
