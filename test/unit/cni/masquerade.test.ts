import test from 'ava';
import { iptablesComment, nftablesComment, parseIptablesComment } from '../../../cni/masquerade/identity.ts';
import {
  buildMasquerade,
  buildMasqueradeCollection,
  buildMasqueradeRemoval,
} from '../../../cni/masquerade/iptables.ts';
import {
  renderMasquerade,
  renderMasqueradeCollection,
  renderMasqueradeRemoval,
} from '../../../cni/masquerade/nftables.ts';
import { parseIptablesSave } from '../../../src/netfilter/tables.ts';
import { renderSection } from '../../../src/netfilter/transaction.ts';

const key = { containerId: 'c1', ifname: 'eth0' };
/** As the reference plugin names it: network and container, hashed. */
const CHAIN = 'CNI-623e1c388032b20529218ecc';
const COMMENT = '-m comment --comment "name: \\"net\\" id: \\"c1\\""';
const SAVED = `*nat
:POSTROUTING ACCEPT [0:0]
:${CHAIN} - [0:0]
:OTHER - [0:0]
-A POSTROUTING -s 10.9.0.7/32 ${COMMENT} -j ${CHAIN}
-A POSTROUTING -s 10.8.0.7/32 -m comment --comment "name: \\"far\\" id: \\"c1\\"" -j OTHER
-A ${CHAIN} -d 10.9.0.0/24 ${COMMENT} -j ACCEPT
COMMIT
`;
const nat = (text = SAVED) => parseIptablesSave(text).get('nat')!;

test('iptables: a chain of the container, an entry an address; what an earlier ADD left goes in the same transaction', (t) => {
  t.is(
    renderSection(buildMasquerade('net', 'c1', ['10.9.0.2/24'], nat())),
    `*nat
:${CHAIN} - [0:0]
-D POSTROUTING -s 10.9.0.7/32 ${COMMENT} -j ${CHAIN}
-A ${CHAIN} -d 10.9.0.0/24 ${COMMENT} -j ACCEPT
-A ${CHAIN} ! -d 224.0.0.0/4 ${COMMENT} -j MASQUERADE
-A POSTROUTING -s 10.9.0.2 ${COMMENT} -j ${CHAIN}
COMMIT
`,
  );
  t.regex(renderSection(buildMasquerade('net', 'c1', ['fd00::2/64'], new Map())), /! -d ff00::\/8 .* -j MASQUERADE/);
});

test('iptables: removal and collection take what is the container’s, and nothing of others', (t) => {
  const removal = `*nat
:${CHAIN} - [0:0]
-D POSTROUTING -s 10.9.0.7/32 ${COMMENT} -j ${CHAIN}
-X ${CHAIN}
COMMIT
`;
  t.is(renderSection(buildMasqueradeRemoval('net', 'c1', nat())), removal);
  t.is(renderSection(buildMasqueradeRemoval('net', 'c2', nat())), '');
  t.is(renderSection(buildMasqueradeCollection('net', new Set(), nat())), removal);
  t.is(renderSection(buildMasqueradeCollection('net', new Set(['c1']), nat())), '');
  t.is(renderSection(buildMasqueradeCollection('else', new Set(), nat())), '');
});

test('iptables: comments are read back from what iptables-save prints', (t) => {
  const printed = `-s 10.9.0.7/32 -m comment --comment "${iptablesComment('net', 'c1').replaceAll('"', '\\"')}" -j ACCEPT`;
  t.deepEqual(parseIptablesComment(printed), { network: 'net', containerId: 'c1' });
  t.is(parseIptablesComment('-m comment --comment "dnat name: \\"net\\" id: \\"c1\\"" -j CNI-DN-1'), undefined);
});

const rule = (handle: number, comment: string, chain = 'masq_checks') => ({ rule: { chain, handle, comment } });

test('nftables: one rule an address, tagged; stale ones of the same attachment go first', (t) => {
  const comment = nftablesComment('net', key);
  t.regex(comment, /^[0-9a-f]{16}-[0-9a-f]{16}, net: net, if: eth0, id: c1$/);
  t.is(nftablesComment('net', { ...key, containerId: 'c'.repeat(200) }).length, 128);
  const objects = [
    rule(4, comment),
    rule(5, nftablesComment('net', { ...key, ifname: 'eth1' })),
    rule(6, comment, 'x'),
  ];
  const script = renderMasquerade('net', key, ['10.9.0.2/24', 'fd00::2/64'], objects);
  t.deepEqual(script.split('\n').slice(-4, -1), [
    'delete rule inet cni_plugins_masquerade masq_checks handle 4',
    `add rule inet cni_plugins_masquerade masq_checks ip saddr 10.9.0.2 ip daddr != 10.9.0.0/24 masquerade comment "${comment}"`,
    `add rule inet cni_plugins_masquerade masq_checks ip6 saddr fd00::2 ip6 daddr != fd00::/64 masquerade comment "${comment}"`,
  ]);
  t.is(renderMasqueradeRemoval('net', key, objects), 'delete rule inet cni_plugins_masquerade masq_checks handle 4\n');
  t.is(
    renderMasqueradeCollection('net', [key], objects),
    'delete rule inet cni_plugins_masquerade masq_checks handle 5\n',
  );
  t.is(renderMasqueradeCollection('far', [], objects), '', 'another network');
});
