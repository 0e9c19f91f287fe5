import test from 'ava';
import { parseRanges } from '../../../cli/preflight/cidrs.ts';

const defaults = { podCidr: '10.244.0.0/16', serviceCidr: '10.96.0.0/12', nodesNetwork: '172.29.77.0/24' };

test('ranges: one of each, or one of each family', (t) => {
  t.deepEqual(parseRanges(defaults), [
    ['--pod-cidr', '10.244.0.0/16'],
    ['--service-cidr', '10.96.0.0/12'],
    ['--nodes-network', '172.29.77.0/24'],
  ]);
  const dual = { podCidr: '10.244.0.0/16,fd00:244::/56', serviceCidr: '10.96.0.0/12, fd00:96::/112' };
  t.is(parseRanges({ ...defaults, ...dual }).length, 5);
  t.is(parseRanges({ ...defaults, podCidr: dual.podCidr }).length, 4, 'Services may stay with one');
});

for (const [title, change, message] of [
  ['what is no range', { podCidr: '10.244.0.0' }, /--pod-cidr: .*write it like 10\.244\.0\.0\/16/],
  ['bits beyond the length', { podCidr: '10.244.0.1/16' }, /did you mean 10\.244\.0\.0\/16\?/],
  ['two ranges of one family', { podCidr: '10.244.0.0/16,10.245.0.0/16' }, /one range, or one of each address family/],
  ['IPv6 first', { podCidr: 'fd00::/56,10.244.0.0/16' }, /the first range must be IPv4/],
  ['IPv6 alone', { serviceCidr: 'fd00:96::/112' }, /the first range must be IPv4/],
  [
    'IPv6 Services for IPv4 pods',
    { serviceCidr: '10.96.0.0/12,fd00:96::/112' },
    /give --pod-cidr an IPv6 range too; no pod could answer there/,
  ],
  ['an IPv6 range too small for a node', { podCidr: '10.244.0.0/16,fd00::/80' }, /between \/48 and \/64/],
  ['nodes with IPv6 addresses', { nodesNetwork: 'fd00::/64' }, /--nodes-network .*only IPv4/],
  ['ranges that overlap', { serviceCidr: '10.244.0.0/20' }, /overlap: choose two that don't/],
  [
    'IPv6 ranges that overlap',
    { podCidr: '10.244.0.0/16,fd00::/56', serviceCidr: '10.96.0.0/12,fd00:0:0:1::/112' },
    /--pod-cidr fd00::\/56 and --service-cidr fd00:0:0:1::\/112 overlap/,
  ],
] as const)
  test(`refuses ${title}`, (t) => {
    t.throws(() => parseRanges({ ...defaults, ...change }), { message });
  });
