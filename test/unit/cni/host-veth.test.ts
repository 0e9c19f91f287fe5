import test from 'ava';
import { formatHostVethAlias, hostVethName, macOfIp, parseHostVethAlias } from '../../../cni/plugins/host-veth.ts';

const key = { containerId: 'a'.repeat(64), ifname: 'eth0' };

test('the host end’s name depends on nothing but the attachment', (t) => {
  const name = hostVethName('berth', key);
  t.regex(name, /^veth[0-9a-f]{8}$/);
  t.is(hostVethName('berth', { ...key }), name);
  t.not(hostVethName('other', key), name);
  t.not(hostVethName('berth', { ...key, ifname: 'net1' }), name);
});

test('the alias carries the identity, also when the kernel cuts its end', (t) => {
  const identity = { ...key, network: 'berth', pod: `${'n'.repeat(63)}/${'p'.repeat(253)}` };
  const alias = formatHostVethAlias(identity);
  t.deepEqual(parseHostVethAlias(alias), identity);
  t.like(parseHostVethAlias(alias.slice(0, 255)), { network: 'berth', ...key });
  t.is(parseHostVethAlias('somebody’s uplink'), undefined);
  t.is(parseHostVethAlias('berth:bridge'), undefined);
  t.is(parseHostVethAlias(undefined), undefined);
});

test('the MAC follows the IPv4 address', (t) => {
  t.is(macOfIp('10.244.1.5'), '0a:58:0a:f4:01:05');
  t.is(macOfIp('fd00::5'), undefined);
});
