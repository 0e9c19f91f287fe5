import test from 'ava';
import { CniError } from '../../../../cni/types.ts';
import { parseResult, renderResult } from '../../../../cni/wire/result.ts';

test('what plugins of others print is read as Go would: null is absent, no version is the configuration’s', (t) => {
  const text = '{"cniVersion":"","interfaces":null,"ips":[{"address":"10.1.2.3/24","gateway":null,"interface":null}]';
  t.deepEqual(parseResult(JSON.parse(`${text},"routes":null,"dns":null}`), '1.0.0'), {
    interfaces: [],
    ips: [{ address: '10.1.2.3/24' }],
    routes: [],
  });
  t.deepEqual(parseResult({ cniVersion: '0.2.0', ip4: null, ip6: { ip: 'fd00::5/64' } }, '1.0.0').ips, [
    { address: 'fd00::5/64' },
  ]);
});

test('addresses and destinations are as the kernel writes them', (t) => {
  const from = {
    cniVersion: '1.0.0',
    ips: [{ address: 'FD00:9:0::5/64', gateway: 'FD00:9:0:0::1' }],
    routes: [
      { dst: '::0/0' },
      { dst: '10.77.1.2/16', gw: '10.9.0.1', mtu: 1400 },
      { dst: 'FD00:AA::1/48', gw: 'FE80::1' },
    ],
  };
  const { ips, routes } = parseResult(from, '1.0.0');
  t.deepEqual(ips, [{ address: 'fd00:9::5/64', gateway: 'fd00:9::1' }]);
  t.deepEqual(routes, [
    { dst: '::/0' },
    { dst: '10.77.0.0/16', gw: '10.9.0.1', mtu: 1400 },
    { dst: 'fd00:aa::/48', gw: 'fe80::1' },
  ]);
  const printed = JSON.stringify(renderResult({ interfaces: [], ips, routes }, '1.1.0'));
  t.deepEqual(parseResult(JSON.parse(printed), '1.1.0').routes, routes);
});

test('what is no result names the field and the value', (t) => {
  const cases: [object, RegExp][] = [
    [{ ips: [{ address: '10.1.2.3' }] }, /ips\[\] "10\.1\.2\.3" is no CIDR/],
    [{ ips: [{}] }, /ips\[\] "undefined" is no CIDR/],
    [{ ips: [{ address: '10.1.2.3/24', gateway: 'there' }] }, /ips\[\] "there" is no IP address/],
    [{ ips: [{ address: '10.1.2.3/24', interface: 1 }] }, /ips\[\]\.interface 1 of 0 interfaces/],
    [{ routes: [{ gw: '10.1.2.1' }] }, /routes\[\] \{"gw":"10\.1\.2\.1"\}: has no dst/],
    [{ routes: [{ dst: '0.0.0.0/0', mtu: '1400' }] }, /mtu "1400" is no whole number of 32 bits/],
    [{ routes: [{ dst: '0.0.0.0/0', table: 2 ** 32 }] }, /table 4294967296 is no whole number/],
    [{ routes: [{ dst: '10.0.0.0/8', gw: 'fd00::1' }] }, /10\.0\.0\.0\/8 and its gw fd00::1 are of two families/],
    [{ routes: [{ dst: 'default' }] }, /routes\[\] .*"default" is no CIDR/],
  ];
  for (const [from, message] of cases)
    t.throws(() => parseResult({ cniVersion: '1.0.0', ...from }, '1.0.0'), { instanceOf: CniError, message });
});
