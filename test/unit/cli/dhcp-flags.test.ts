import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { parseDhcpFlags } from '../../../cli/cni/dhcp-flags.ts';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';

test('without flags all is as with the reference daemon', (t) => {
  t.deepEqual(parseDhcpFlags([]), {
    hostPrefix: '',
    socketPath: '/run/cni/dhcp.sock',
    broadcast: false,
    cacheDir: '/var/lib/cni',
    timeoutMs: 10_000,
    resendMaxMs: 62_000,
    resendTimeoutMs: 208_000,
  });
});

test('flags are read as Go reads them', (t) => {
  const args = [
    '-pidfile',
    '/run/dhcp.pid',
    '--hostprefix=/host/',
    '-broadcast',
    '-timeout=1m30s',
    '--resendmax',
    '5s',
  ];
  t.deepEqual(parseDhcpFlags([...args, '-resendtimeout', '1h', '-socketpath', '/run/a.sock', '-cachedir=']), {
    cacheDir: '',
    pidFile: '/run/dhcp.pid',
    hostPrefix: '/host',
    socketPath: '/run/a.sock',
    broadcast: true,
    timeoutMs: 90_000,
    resendMaxMs: 5000,
    resendTimeoutMs: 3_600_000,
  });
  for (const text of ['false', 'F', '0']) t.false(parseDhcpFlags([`-broadcast=${text}`]).broadcast, text);
  for (const text of ['TRUE', 't', '1']) t.true(parseDhcpFlags([`-broadcast=${text}`]).broadcast, text);
});

for (const [args, message] of [
  [['-colour'], /-colour is none of its flags: -pidfile, -hostprefix/],
  [['daemon'], /daemon is none of its flags/],
  [['-pidfile', 'pid'], /-pidfile "pid" is not an absolute path/],
  [['-pidfile'], /-pidfile needs a value/],
  [['-timeout', '10'], /-timeout "10" is not a duration/],
  [['-timeout', '-1s'], /is not a duration/],
  [['-broadcast=maybe'], /true or false/],
  [['-socketpath', 'dhcp.sock'], /-socketpath "dhcp.sock" is not an absolute path/],
] as const)
  test(`refuses ${args.join(' ')}`, (t) => {
    t.throws(() => parseDhcpFlags(args), { name: 'UserError', message });
  });

test('the units start the daemon on the socket that plugins dial', (t) => {
  const unit = (kind: string) => readFileSync(join(CHECKOUT, `systemd/berth-cni-dhcp.${kind}`), 'utf8');
  t.regex(unit('service'), /^ExecStart=\/opt\/berth\/berth cni dhcp-daemon$/m);
  t.regex(unit('socket'), /^ListenStream=\/run\/cni\/dhcp\.sock$/m);
  t.regex(unit('socket'), /^SocketMode=0600$/m);
});
