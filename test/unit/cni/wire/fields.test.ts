import test from 'ava';
import { CNI_ERROR, CniError } from '../../../../cni/types.ts';
import { readFields } from '../../../../cni/wire/fields.ts';
import { readNetConf } from '../../../../cni/wire/net-conf.ts';

test('names of links and sizes are refused by key and reason before the kernel says EINVAL', (t) => {
  const cases: [object, RegExp][] = [
    [{ bridge: 'b'.repeat(16) }, /^bridge: "b{16}" is no link's name: interface names have at most 15 characters/],
    [{ bridge: 'a/b' }, /^bridge: "a\/b" is no link's name: .* no '\/', ':' or blanks/],
    [{ bridge: '..' }, /^bridge: "\.\." is no link's name: interface names are neither/],
    [{ bridge: 7 }, /^bridge: 7 is not a text/],
    [{ mtu: 70_000 }, /^mtu: 70000 is not a size in bytes up to 65535/],
    [{ mtu: 2 ** 32 + 1400 }, /^mtu: 4294968696 is not a size/],
    [{ mtu: -5 }, /^mtu: -5 is not a size/],
    [{ mtu: '1500' }, /^mtu: "1500" is not a size/],
  ];
  for (const [raw, message] of cases) {
    const fields = readFields(raw as Record<string, unknown>);
    t.throws(() => [fields.linkName('bridge'), fields.mtu()], { instanceOf: CniError, message });
  }
  const fields = readFields({ bridge: null, mtu: null, master: 'eth0.100' });
  t.deepEqual(
    [fields.linkName('bridge', 'cni0'), fields.linkName('master'), fields.mtu()],
    ['cni0', 'eth0.100', undefined],
  );
  t.is(readFields({ mtu: 0 }).mtu(), undefined);
  t.is(readFields({ mtu: 9000 }).mtu(), 9000);
});

test('a configuration whose version is null is of the first, as one that does not say', (t) => {
  t.is(readNetConf({ cniVersion: null, name: 'net' }).cniVersion, '0.1.0');
});

test('an address manager’s name is a text', (t) => {
  const conf = (type: unknown) => ({ cniVersion: '1.1.0', name: 'net', type: 'bridge', ipam: { type } });
  t.throws(() => readNetConf(conf(7)), {
    code: CNI_ERROR.invalidNetworkConfig as never,
    message: 'ipam.type: 7 is not a text',
  });
  t.is(readNetConf(conf(null)).ipam.type, null as never);
});
