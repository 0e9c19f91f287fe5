import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { collectBackups, readBackup, removeBackup, saveBackup } from '../../../cni/plugins/tuning-backup.ts';
import { checkAllowlist, netSysctl, netSysctls, sameSysctlValue } from '../../../cni/plugins/tuning-sysctls.ts';

test('keys of settings mean files below net/', (t) => {
  for (const [key, path] of [
    ['net.core.somaxconn', 'net/core/somaxconn'],
    ['net/core/somaxconn', 'net/core/somaxconn'],
    ['net.ipv4.conf.IFNAME.arp_filter', 'net/ipv4/conf/eth0.7/arp_filter'],
    ['net/ipv4/conf/IFNAME/arp_filter', 'net/ipv4/conf/eth0.7/arp_filter'],
    ['net/ipv4/conf/eth0.9/arp_filter', 'net/ipv4/conf/eth0.9/arp_filter'],
    ['net.ipv4.../core/somaxconn', 'net/ipv4/core/somaxconn'],
  ] as const)
    t.is(netSysctl(key, 'eth0.7'), path, key);
  for (const key of [
    'kernel.hostname',
    'net/../kernel/hostname',
    'net/core/somaxconn/../../ipv4/ip_forward',
    'network.x',
    '',
    'net',
    '/net/core/x',
    '../net/core/x',
  ])
    t.throws(() => netSysctl(key, 'eth0'), { code: 7, message: /invalid net sysctl key/ } as object, key);
  t.throws(() => netSysctls({ 'net.core.x': '1', 'net/core/x': '2' }, 'eth0'), { message: /duplicated/ });
  t.is(netSysctl('net.ipv4.conf.IFNAME.x', 'a$&b'), 'net/ipv4/conf/a$&b/x', 'a name is no pattern');
});

test('values are the same whatever the blanks between numbers', (t) => {
  t.true(sameSysctlValue('4096\t87380\t6291456', '4096 87380  6291456'));
  t.false(sameSysctlValue('4096', '4097'));
  t.false(sameSysctlValue(undefined, '1'));
});

test('the allow list: patterns found anywhere in a key; none without the file', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-tuning-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'allowlist.conf');
  t.notThrows(() => checkAllowlist(['net.core.x'], file));
  writeFileSync(file, '\n  ^net\\.core\\.\nsomething\n');
  t.notThrows(() => checkAllowlist(['net.core.x', 'net.ipv4.something.y'], file));
  t.throws(() => checkAllowlist(['net.core.x', 'net.ipv4.x'], file), { message: 'Sysctl net.ipv4.x is not allowed' });
  writeFileSync(file, '');
  t.throws(() => checkAllowlist(['net.core.x'], file), { message: /not allowed/ }, 'an empty one allows nothing');
});

test('a backup: what was saved first stays; GC takes its own network’s', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-tuning-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const key = { containerId: 'a_b', ifname: 'net_1' };
  t.is(readBackup(folder, key), undefined);
  saveBackup(folder, key, { mtu: 1500, network: 'red' });
  saveBackup(folder, key, { mtu: 1400, mac: '0a:00:00:00:00:01', network: 'red' });
  const saved = { mtu: 1500, mac: '0a:00:00:00:00:01', network: 'red' };
  t.deepEqual(readBackup(folder, key), saved);
  t.deepEqual(JSON.parse(readFileSync(join(folder, 'a_b_net_1.json'), 'utf8')), saved);
  for (const broken of ['', '{', 'null']) {
    writeFileSync(join(folder, 'x_eth0.json'), broken);
    t.is(readBackup(folder, { containerId: 'x', ifname: 'eth0' }), undefined);
  }
  saveBackup(folder, { containerId: 'blue', ifname: 'eth0' }, { mtu: 1, network: 'blue' });
  collectBackups(folder, 'red', [key]);
  t.deepEqual(readBackup(folder, key), saved);
  collectBackups(folder, 'red', []);
  t.is(readBackup(folder, key), undefined);
  t.like(readBackup(folder, { containerId: 'blue', ifname: 'eth0' }), { mtu: 1 });
  t.notThrows(() => removeBackup(folder, key));
  t.notThrows(() => collectBackups(join(folder, 'none'), 'red', []));
});
