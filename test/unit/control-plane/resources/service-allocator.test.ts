import test from 'ava';
import { parseBlock } from '../../../../control-plane/resources/allocation/cidr.ts';
import { createNumberPool, lowerBandOf } from '../../../../control-plane/resources/allocation/number-pool.ts';
import { createServiceAllocator } from '../../../../control-plane/resources/allocation/service-allocator.ts';
import type { Service } from '../../../../src/kube/types.ts';
import { meta } from '../../../support/strategy-context.ts';

const first = () => 0;

test('blocks of both families', (t) => {
  const v4 = parseBlock('10.96.0.7/12');
  t.is(v4.family, 'IPv4');
  t.is(v4.size, 2 ** 20);
  t.is(v4.at(10), '10.96.0.10');
  t.is(v4.offsetOf('10.96.1.0'), 256);
  t.is(v4.offsetOf('10.112.0.0'), undefined);
  t.is(v4.offsetOf('fd00::1'), undefined);
  const v6 = parseBlock('fd00:10:96::/112');
  t.is(v6.at(1), 'fd00:10:96::1');
  t.is(v6.offsetOf('fd00:10:96::ff'), 255);
  t.throws(() => parseBlock('10.96.0.0'), { message: /is not a CIDR/ });
});

const bands: [number, number, number, number][] = [
  [2 ** 20, 16, 256, 256],
  [256, 16, 256, 16],
  [1024, 16, 256, 64],
  [8, 16, 256, 0],
  [2768, 32, 128, 86],
];
for (const [size, share, most, band] of bands)
  test(`${size} numbers keep ${band} for those who ask`, (t) => {
    t.is(lowerBandOf(size, share, most), band);
  });

test('a pool gives the upper band first, then the lower, then nothing', (t) => {
  const pool = createNumberPool(4, 2, first);
  t.deepEqual(
    [pool.takeAny(), pool.takeAny(), pool.takeAny(), pool.takeAny(), pool.takeAny()],
    [2, 3, 0, 1, undefined],
  );
  pool.release(3);
  t.is(pool.takeAny(), 3);
  t.false(pool.take(3));
});

test('addresses: the first is the API server’s, network and broadcast are nobody’s', (t) => {
  const allocator = createServiceAllocator({ serviceCidrs: ['10.0.0.0/29'], random: first });
  t.is(allocator.firstAddress, '10.0.0.1');
  for (const address of ['10.0.0.0', '10.0.0.7', '10.0.1.1'])
    t.throws(() => allocator.takeAddress(address), {
      message: `the provided IP (${address}) is not in the valid range. The range of valid IPs is 10.0.0.0/29`,
    });
  const taken = Array.from({ length: 6 }, () => allocator.takeAnyAddress('IPv4'));
  t.deepEqual(taken, ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
  t.throws(() => allocator.takeAnyAddress('IPv4'), { message: 'range is full' });
  t.throws(() => allocator.takeAddress('10.0.0.3'), { message: 'provided IP is already allocated' });
  allocator.releaseAddress('10.0.0.3');
  t.is(allocator.takeAnyAddress('IPv4'), '10.0.0.3');
});

test('random addresses and ports leave the lower band alone', (t) => {
  const allocator = createServiceAllocator({ serviceCidrs: ['10.96.0.0/12'], random: first });
  t.is(allocator.takeAnyAddress('IPv4'), '10.96.1.1');
  t.is(allocator.takePort(), 30086);
  t.is(allocator.takePort(30000), 30000);
  t.throws(() => allocator.takePort(30000), { message: 'provided port is already allocated' });
  t.throws(() => allocator.takePort(80), {
    message: 'provided port is not in the valid range. The range of valid ports is 30000-32767',
  });
});

test('what stored Services have is held', (t) => {
  const allocator = createServiceAllocator({ serviceCidrs: ['10.96.0.0/12'] });
  const stored: Service[] = [
    {
      metadata: meta('a'),
      spec: {
        type: 'NodePort',
        clusterIP: '10.96.0.10',
        clusterIPs: ['10.96.0.10'],
        ports: [{ port: 1, nodePort: 30001 }],
      },
    },
    { metadata: meta('headless'), spec: { clusterIP: 'None', clusterIPs: ['None'] } },
    { metadata: meta('elsewhere'), spec: { clusterIP: '172.30.0.1', ports: [{ port: 1, nodePort: 99 }] } },
  ];
  allocator.restore(stored);
  t.throws(() => allocator.takeAddress('10.96.0.10'));
  t.throws(() => allocator.takePort(30001));
});

test('a range without room is refused', (t) => {
  t.throws(() => createServiceAllocator({ serviceCidrs: ['10.0.0.0/31'] }), { message: /room for 0 addresses/ });
});
