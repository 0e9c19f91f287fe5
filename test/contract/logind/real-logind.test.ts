/** The real systemd-logind on a bus of our own: it is asked to reboot, and waits. What it would have systemd do is only written down. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { connectLogind } from '../../../agent/node/shutdown/logind.ts';
import { LOGIND_CONF_DIR, removeLogindOverride } from '../../../agent/node/shutdown/logind-override.ts';
import { createNodeShutdown } from '../../../agent/node/shutdown/manager.ts';
import { openBus } from '../../../src/dbus/bus.ts';
import type { Pod } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { startDbusDaemon, whyNoDbus } from '../../support/dbus-daemon.ts';
import { eventually } from '../../support/eventually.ts';
import { standInForSystemd } from '../../support/systemd-bus.ts';

const LOGIND = '/lib/systemd/systemd-logind';
/** Only on a host of the tests: nobody's real logind must meet this one's files in /run. */
const missing =
  whyNoDbus() ??
  (existsSync(LOGIND) ? undefined : 'no systemd-logind') ??
  (process.getuid?.() === 0 && !existsSync('/run/systemd/system')
    ? undefined
    : 'needs a host without systemd of its own');
const story = missing ? test.skip : test.serial;

story(missing ? `a reboot waits for the pods (${missing})` : 'a reboot waits for the pods', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-real-logind-'));
  mkdirSync('/run/systemd', { recursive: true });
  const daemon = await startDbusDaemon(folder);
  const logind = spawn(LOGIND, [], {
    env: { DBUS_SYSTEM_BUS_ADDRESS: daemon.address, SYSTEMD_LOG_TARGET: 'console' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  logind.stderr.on('data', (text) => {
    said += text;
  });
  const ended = once(logind, 'close');
  const systemd = await standInForSystemd(daemon.address, (unit, signal) => {
    if (unit === 'systemd-logind.service') logind.kill(signal as unknown as NodeJS.Signals);
  });
  const stop = new AbortController();
  const gone = new Set<string>();
  const pods = ['web', 'dns'].map((uid, index) => ({
    metadata: { uid, name: uid, namespace: 'default' },
    spec: { priority: index * 2_000_000_000 },
  })) as unknown as Pod[];
  const order: string[] = [];
  const shutdown = createNodeShutdown(
    {
      nodeName: 'n1',
      periods: [
        { priority: 0, seconds: 20 },
        { priority: 2_000_000_000, seconds: 10 },
      ],
      stateFile: join(folder, 'graceful_node_shutdown_state'),
      logindConfDir: LOGIND_CONF_DIR,
    },
    {
      connect: () => connectLogind(daemon.address),
      pods: {
        isComplete: () => true,
        active: () => pods,
        async condemn(uid) {
          await systemClock.sleep(700);
          order.push(uid, ...systemd.started);
          gone.add(uid);
        },
        isReleased: (uid) => gone.has(uid),
      },
      refreshNode() {},
      events: { event() {} },
      showState() {},
      clock: systemClock,
      log: silentLogger,
    },
  );
  const done = shutdown.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await done;
    logind.kill('SIGKILL');
    await ended;
    systemd.close();
    await daemon.stop();
    await removeLogindOverride();
    rmSync(folder, { recursive: true, force: true });
  });

  const bus = await openBus(daemon.address);
  const manager = { destination: 'org.freedesktop.login1', path: '/org/freedesktop/login1' };
  const ask = (member: string, ...rest: [signature?: string, body?: unknown[]]) =>
    bus.call({
      ...manager,
      interface: 'org.freedesktop.login1.Manager',
      member,
      ...(rest[0] && { signature: rest[0], body: rest[1]! }),
    });
  await eventually('logind lists the lock', async () => {
    // It comes to the bus when it is ready.
    const { body } = await ask('ListInhibitors').catch(() => ({ body: [[]] }));
    return (body[0] as unknown[][]).some(([what, who, , mode]) => `${what} ${who} ${mode}` === 'shutdown berth delay');
  }).catch((error) => t.fail(`${error}\n${said}`));
  const watcher = await connectLogind(daemon.address);
  t.is(await watcher.inhibitDelayMs(), 30_000, 'it has read what was written for it');
  await ask('Reboot', 'b', [false]);
  await eventually('systemd is asked to reboot', () => systemd.started.length > 0);
  t.deepEqual(order, ['web', 'dns'], 'nothing was started before');
  t.deepEqual(systemd.started, ['reboot.target']);
  t.is(shutdown.problem(), 'node is shutting down');
  watcher.close();
  bus.close();
});
