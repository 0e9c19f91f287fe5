import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { readSysctl, sysctlPath, writeSysctl } from '../../../src/linux/sysctl.ts';

test('keys become paths; a leading slash form keeps its dots', (t) => {
  t.is(sysctlPath('net.ipv4.ip_forward'), '/proc/sys/net/ipv4/ip_forward');
  t.is(sysctlPath('net/ipv4/conf/eth0.100/rp_filter'), '/proc/sys/net/ipv4/conf/eth0.100/rp_filter');
});

test('writes only what differs and answers the value before', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'sysctl-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'net/ipv4'), { recursive: true });
  writeFileSync(join(root, 'net/ipv4/ip_forward'), '0\n');
  t.is(readSysctl('net.ipv4.ip_forward', { root }), '0');
  t.deepEqual(writeSysctl('net.ipv4.ip_forward', '1', { root }), { previous: '0' });
  t.is(writeSysctl('net.ipv4.ip_forward', '1', { root }), undefined);
  t.is(readFileSync(join(root, 'net/ipv4/ip_forward'), 'utf8'), '1');
});

test('an absent key reads as undefined and refuses a write', (t) => {
  t.is(readSysctl('net.no.such', { root: '/proc/sys' }), undefined);
  t.throws(() => writeSysctl('net.no.such', '1'), { code: 'ENOENT' });
});
