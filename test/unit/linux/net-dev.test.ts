import test from 'ava';
import { parseNetDev } from '../../../src/linux/net-dev.ts';

const TEXT = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0:1234567890123  987    1    3    0     0          0         5 65536     654    2    4    0     0       0          0
`;

test('the counters of every interface, also where the name touches the first', (t) => {
  const [lo, eth0] = parseNetDev(TEXT);
  t.is(lo?.name, 'lo');
  t.deepEqual(eth0, {
    name: 'eth0',
    rxBytes: 1_234_567_890_123,
    rxPackets: 987,
    rxErrors: 1,
    rxDropped: 3,
    txBytes: 65_536,
    txPackets: 654,
    txErrors: 2,
    txDropped: 4,
  });
  t.deepEqual(parseNetDev('\n'), []);
});
