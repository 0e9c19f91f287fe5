import test from 'ava';
import { canonicalRule, parseRule } from '../../../src/netfilter/rule.ts';

const PAIRS: [what: string, ours: string, saved: string][] = [
  [
    'an implied match, a bare address, the default reject',
    '-m comment --comment "ns/s:p has no endpoints" -m tcp -p tcp -d 10.0.0.1 --dport 80 -j REJECT',
    '-d 10.0.0.1/32 -p tcp -m comment --comment "ns/s:p has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable',
  ],
  [
    'a negated mark in hex',
    '-m mark ! --mark 0x00004000/0x00004000 -j RETURN',
    '-m mark ! --mark 0x4000/0x4000 -j RETURN',
  ],
  ['or-mark', '-j MARK --or-mark 0x00004000', '-j MARK --set-xmark 0x4000/0x4000'],
  ['xor-mark', '-j MARK --xor-mark 0x00004000', '-j MARK --set-xmark 0x4000/0x0'],
  [
    'the kernel rounds probabilities',
    '-m statistic --mode random --probability 0.3333333333 -j A',
    '-m statistic --mode random --probability 0.33333333349 -j A',
  ],
  [
    'recent with its defaults',
    '-m comment --comment ns/s -m recent --name A --rcheck --seconds 10 --reap -j A',
    '-m comment --comment "ns/s" -m recent --rcheck --seconds 10 --reap --name A --mask 255.255.255.255 --rsource -j A',
  ],
  [
    'the order of negated matches',
    '-d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
    '! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
  ],
];

for (const [what, ours, saved] of PAIRS)
  test(`two spellings of a rule are one: ${what}`, (t) => {
    t.is(canonicalRule(ours), canonicalRule(saved));
  });

test('rules that differ stay different', (t) => {
  t.not(canonicalRule('-s 10.0.0.1 -j A'), canonicalRule('! -s 10.0.0.1 -j A'));
  t.not(canonicalRule('-m statistic --mode random --probability 0.5 -j A'), canonicalRule('-j A'));
  t.not(canonicalRule('-s 10.0.0.1 -j A'), canonicalRule('-d 10.0.0.1 -j A'));
});

test('a quoted comment may hold anything', (t) => {
  t.deepEqual(parseRule('-m comment --comment "x -> 10.0.0.1:80 ! -j" -j A'), [
    { negated: false, name: '-m', values: ['comment'] },
    { negated: false, name: '--comment', values: ['x -> 10.0.0.1:80 ! -j'] },
    { negated: false, name: '-j', values: ['A'] },
  ]);
});
