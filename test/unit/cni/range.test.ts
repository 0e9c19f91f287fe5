import test from 'ava';
import { candidates, describeRangeSet, parseRangeSets, type RangeConfig } from '../../../cni/ipam/range.ts';

function order(ranges: RangeConfig[], last?: string): string[] {
  return [...candidates(parseRangeSets([ranges])[0]!, last)].map(({ ip }) => ip);
}

test('a /29 gives its hosts without network, gateway and broadcast', (t) => {
  t.deepEqual(order([{ subnet: '10.1.2.0/29' }]), ['10.1.2.2', '10.1.2.3', '10.1.2.4', '10.1.2.5', '10.1.2.6']);
});

test('the search goes on after the last one and ends with it', (t) => {
  t.deepEqual(order([{ subnet: '10.1.2.0/29' }], '10.1.2.4'), [
    '10.1.2.5',
    '10.1.2.6',
    '10.1.2.2',
    '10.1.2.3',
    '10.1.2.4',
  ]);
  t.deepEqual(order([{ subnet: '10.1.2.0/29' }], '10.1.2.6')[0], '10.1.2.2');
});

test('a last one that is not in the ranges (any more) starts from the beginning', (t) => {
  t.is(order([{ subnet: '10.1.2.0/29' }], '10.9.9.9')[0], '10.1.2.2');
  t.is(order([{ subnet: '10.1.2.0/29' }], 'garbage')[0], '10.1.2.2');
});

test('several ranges are walked in turn, from the middle of one around', (t) => {
  const ranges = [
    { subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.12' },
    { subnet: '10.1.3.0/24', rangeStart: '10.1.3.5', rangeEnd: '10.1.3.6' },
  ];
  t.deepEqual(order(ranges, '10.1.2.11'), ['10.1.2.12', '10.1.3.5', '10.1.3.6', '10.1.2.10', '10.1.2.11']);
  t.deepEqual(order(ranges, '10.1.3.6'), ['10.1.2.10', '10.1.2.11', '10.1.2.12', '10.1.3.5', '10.1.3.6']);
});

test('IPv6 uses its last address too; the gateway can be given', (t) => {
  t.deepEqual(order([{ subnet: 'fd00::/126', gateway: 'fd00::2' }]), ['fd00::1', 'fd00::3']);
});

test('names a set in errors', (t) => {
  t.is(describeRangeSet(parseRangeSets([[{ subnet: '10.1.2.0/24' }]])[0]!), '10.1.2.1-10.1.2.254');
});

for (const [what, ranges, message] of [
  ['no CIDR', [{ subnet: '10.1.2.0' }], /ipam.ranges.subnet: "10.1.2.0" is no CIDR/],
  ['octal', [{ subnet: '010.1.2.0/24' }], /is no IP address/],
  ['host bits', [{ subnet: '10.1.2.3/24' }], /host bits set; the subnet is 10.1.2.0\/24/],
  ['too small', [{ subnet: '10.1.2.0/31' }], /too small/],
  ['start outside', [{ subnet: '10.1.2.0/24', rangeStart: '10.1.3.1' }], /rangeStart 10.1.3.1 is not in 10.1.2.0\/24/],
  ['end before start', [{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.9', rangeEnd: '10.1.2.8' }], /is after rangeEnd/],
  ['overlap', [{ subnet: '10.1.2.0/24' }, { subnet: '10.1.0.0/16' }], /overlap/],
  [
    'ranges that share addresses',
    [
      { subnet: '10.1.2.0/24', rangeEnd: '10.1.2.20' },
      { subnet: '10.1.2.0/24', rangeStart: '10.1.2.20' },
    ],
    /10.1.2.1-10.1.2.20 and 10.1.2.20-10.1.2.254 overlap/,
  ],
  ['no subnet', [{} as RangeConfig], /has no subnet/],
  ['a number', [{ subnet: 7 } as unknown as RangeConfig], /7 is no text/],
  ['a gateway of the other family', [{ subnet: '10.1.2.0/24', gateway: 'fd00::1' }], /two families/],
  ['mixed families', [{ subnet: '10.1.2.0/24' }, { subnet: 'fd00::/64' }], /mixes IPv4 and IPv6/],
  ['nothing', [], /empty set/],
] as [string, RangeConfig[], RegExp][])
  test(`refuses ${what}`, (t) => {
    t.throws(() => parseRangeSets([ranges]), { message, code: 7 });
  });

test('refuses no set at all', (t) => {
  t.throws(() => parseRangeSets([]), { code: 7 });
});

test('ranges of one subnet may lie beside each other', (t) => {
  const ranges = [
    { subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.11' },
    { subnet: '10.1.2.0/24', rangeStart: '10.1.2.20', rangeEnd: '10.1.2.21' },
  ];
  t.deepEqual(order(ranges), ['10.1.2.10', '10.1.2.11', '10.1.2.20', '10.1.2.21']);
});

test('a set that is no list is refused', (t) => {
  t.throws(() => parseRangeSets([{ subnet: '10.1.2.0/24' }] as unknown as RangeConfig[][]), {
    code: 7,
    message: /is no list of ranges/,
  });
});

test('an IPv6 gateway is left out however it is written', (t) => {
  t.deepEqual(order([{ subnet: 'fd00::/126', gateway: 'FD00:0::2' }]), ['fd00::1', 'fd00::3']);
});

test('a gateway may be outside of the subnet: then the first address is like any other', (t) => {
  t.is(order([{ subnet: '10.1.2.0/29', gateway: '169.254.1.1' }])[0], '10.1.2.1');
});
