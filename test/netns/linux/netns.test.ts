import { readdirSync } from 'node:fs';
import test from 'ava';
import { run } from '../../../src/linux/exec.ts';
import { createNetns, netnsExists, netnsId, withNetns } from '../../../src/linux/netns.ts';
import { readSysctl, writeSysctl } from '../../../src/linux/sysctl.ts';
import { createTestNetns } from '../../support/netns.ts';

const OWN = '/proc/thread-self/ns/net';

test('the window opens and closes, also when the work throws', async (t) => {
  const netns = await createTestNetns(t, 'window');
  const home = netnsId(OWN);
  t.is(
    withNetns<string | undefined>(netns.path, () => netnsId(OWN)),
    netnsId(netns.path),
  );
  t.is(netnsId(OWN), home);
  t.throws(
    () =>
      withNetns<void>(netns.path, () => {
        throw new Error('inside');
      }),
    { message: 'inside' },
  );
  t.is(netnsId(OWN), home);
  t.throws(() => withNetns<void>('/run/netns/no-such', () => {}), { code: 'ENOENT' });
  t.throws(() => withNetns<void>('/proc/self/ns/mnt', () => {}), { code: 'EINVAL' });
  t.is(netnsId(OWN), home);
});

test('no descriptor is left open', async (t) => {
  const netns = await createTestNetns(t, 'fds');
  const open = () => readdirSync('/proc/self/fd').length;
  withNetns<void>(netns.path, () => {});
  const before = open();
  for (let round = 0; round < 50; round++) withNetns<void>(netns.path, () => {});
  t.is(open(), before);
});

test('existence and identity', async (t) => {
  const netns = await createTestNetns(t, 'id');
  t.true(netnsExists(netns.path));
  t.false(netnsExists('/proc/999999999/ns/net'));
  t.false(netnsExists('/etc/hostname'), 'a file is none');
  t.not(netnsId(netns.path), netnsId(OWN));
});

test('sysctls and programs of another namespace', async (t) => {
  const netns = await createTestNetns(t, 'sysctl');
  t.deepEqual(writeSysctl('net.ipv4.ip_forward', '1', { netns: netns.path }), { previous: '0' });
  t.is(readSysctl('net.ipv4.ip_forward', { netns: netns.path }), '1');
  const { stdout } = await run('cat', ['/proc/sys/net/ipv4/ip_forward'], { netns: netns.path });
  t.is(stdout.trim(), '1');
});

test('a namespace of our own making: empty, joined by its path, gone when it is closed', (t) => {
  const home = netnsId(OWN);
  const before = readdirSync('/proc/self/fd').length;
  const made = createNetns();
  t.is(netnsId(OWN), home, 'the thread is back at home');
  t.not(made.id, home);
  t.is(netnsId(made.path), made.id);
  t.deepEqual(
    withNetns<string[]>(made.path, () => readdirSync('/proc/thread-self/net/dev_snmp6')),
    ['lo'],
  );
  made.close();
  t.false(netnsExists(made.path));
  t.is(readdirSync('/proc/self/fd').length, before);
});
