import test from 'ava';
import {
  addQuantities,
  bytes,
  canonicalQuantity,
  compareQuantities,
  cpuMillis,
  formatBytes,
  formatCpuMillis,
  isQuantity,
  parseQuantity,
  subtractQuantities,
} from '../../../src/kube/quantity.ts';

const canonical: [string | number, string][] = [
  ['0', '0'],
  ['0Ki', '0'],
  ['1', '1'],
  [1, '1'],
  [0.5, '500m'],
  ['+1', '1'],
  ['1.', '1'],
  ['.5', '500m'],
  ['1000m', '1'],
  ['1500m', '1500m'],
  ['0.1', '100m'],
  ['0.0001', '100u'],
  ['0.1n', '1n'],
  ['1.5n', '2n'],
  ['-1.5n', '-2n'],
  ['1000', '1k'],
  ['1024', '1024'],
  ['1k', '1k'],
  ['1000k', '1M'],
  ['100000', '100k'],
  ['1024Ki', '1Mi'],
  ['1.5Gi', '1536Mi'],
  ['1Ki', '1Ki'],
  ['0.5Ki', '512'],
  ['1000Ki', '1000Ki'],
  ['0.1Ki', '102400m'],
  ['1.0001Ki', '1024102400u'],
  ['128974848', '128974848'],
  ['129e6', '129e6'],
  ['129M', '129M'],
  ['1e3', '1e3'],
  ['10e3', '10e3'],
  ['1E3', '1e3'],
  ['1e0', '1'],
  ['1e-3', '1e-3'],
  ['12e-1', '1200e-3'],
  ['1E', '1E'],
  ['1000E', '1000E'],
  ['8Ei', '9223372036854775807'],
  ['-1Gi', '-1Gi'],
  ['9007199254740993', '9007199254740993'],
];
for (const [input, output] of canonical)
  test(`canonical form of ${JSON.stringify(input)}`, (t) => t.is(canonicalQuantity(input), output));

for (const bad of [
  '',
  ' 1',
  '1 ',
  'a',
  '1.1.1',
  '1x',
  '1ki',
  '1K',
  '1e',
  '1e+',
  '1m3',
  '1Kie3',
  '--1',
  '.',
  '1e9999999',
])
  test(`refused: ${JSON.stringify(bad)}`, (t) => {
    t.false(isQuantity(bad));
    t.throws(() => parseQuantity(bad), { message: /quantities must match the regular expression/ });
  });

test('units are rounded up', (t) => {
  t.is(cpuMillis('0.0001'), 1);
  t.is(cpuMillis('250m'), 250);
  t.is(cpuMillis('2'), 2000);
  t.is(cpuMillis(undefined), 0);
  t.is(bytes('1500m'), 2);
  t.is(bytes('64Mi'), 67108864);
  t.is(bytes('-1500m'), -2);
});

test('comparison is by value', (t) => {
  t.is(compareQuantities('1000m', '1'), 0);
  t.is(compareQuantities('1Gi', '1G'), 1);
  t.is(compareQuantities('1', '1Ki'), -1);
});

test('sums keep the format of the first non-zero operand', (t) => {
  t.is(addQuantities('100m', '1.9'), '2');
  t.is(addQuantities('0', '1Gi', '1Gi'), '2Gi');
  t.is(addQuantities(), '0');
  t.is(subtractQuantities('1Gi', '100Mi'), '924Mi');
  t.is(subtractQuantities('0', '1Ki'), '-1Ki');
});

test('formatters', (t) => {
  t.is(formatCpuMillis(1500), '1500m');
  t.is(formatCpuMillis(2000), '2');
  t.is(formatBytes(1073741824), '1Gi');
  t.is(formatBytes(1000), '1k');
});
