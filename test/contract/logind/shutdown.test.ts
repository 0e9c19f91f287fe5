/** Locks of logind over a real message bus: file descriptors that travel, signals, a bus that goes away. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { connectLogind } from '../../../agent/node/shutdown/logind.ts';
import { createNodeShutdown } from '../../../agent/node/shutdown/manager.ts';
import type { Pod } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { startDbusDaemon, whyNoDbus } from '../../support/dbus-daemon.ts';
import { eventually } from '../../support/eventually.ts';
import { startFakeLogind } from '../../support/logind.ts';

const missing = whyNoDbus();
const story = missing ? test.skip : test.serial;
const name = (what: string) => (missing ? `${what} (${missing})` : what);

async function scene(t: ExecutionContext, options: { delaySeconds?: number } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-logind-'));
  const confDir = join(folder, 'logind.conf.d');
  mkdirSync(confDir);
  const daemon = await startDbusDaemon(folder);
  const logind = await startFakeLogind(daemon.address, { confDir, ...options });
  t.teardown(async () => {
    logind.stop();
    await daemon.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, confDir, daemon, logind };
}

const openDescriptors = () => readdirSync('/proc/self/fd').length;

story(name('a lock is a descriptor: the shutdown waits for it and for nothing else'), async (t) => {
  const { daemon, logind } = await scene(t);
  const client = await connectLogind(daemon.address);
  t.is(await client.inhibitDelayMs(), 5000);
  t.false(await client.isPreparing());
  const before = openDescriptors();
  const lock = await client.inhibit();
  t.deepEqual(logind.locks(), [
    { what: 'shutdown', who: 'berth', why: 'Pods need time to end before the node shuts down', mode: 'delay' },
  ]);
  const seen: boolean[] = [];
  await client.onPrepare((is) => seen.push(is));
  const over = logind.shutdown();
  await eventually('the signal', () => seen.length === 1);
  t.true(await client.isPreparing());
  await t.throwsAsync(client.inhibit(), { message: /already running/ });
  lock.release();
  lock.release();
  t.is(await over, 'released');
  logind.cancel();
  await eventually('the other signal', () => seen.length === 2);
  t.deepEqual(seen, [true, false]);
  await eventually('no descriptor is left behind', () => openDescriptors() <= before);
  client.close();
  t.is(await client.closed, undefined);
});

story(name('a hundred locks leave no descriptor behind'), async (t) => {
  const { daemon, logind } = await scene(t);
  const client = await connectLogind(daemon.address);
  (await client.inhibit()).release();
  await eventually('released', () => logind.locks().length === 0);
  const before = openDescriptors();
  for (let round = 0; round < 100; round++) (await client.inhibit()).release();
  await eventually('as many as before', () => openDescriptors() <= before && logind.locks().length === 0);
  client.close();
  t.pass();
});

story(name('a bus without logind, a bus that goes away: an error that says so'), async (t) => {
  const { daemon, logind } = await scene(t);
  const client = await connectLogind(daemon.address);
  logind.stop();
  await t.throwsAsync(client.inhibitDelayMs(), { message: /org\.freedesktop\.login1/ });
  await daemon.stop();
  await client.closed;
  await t.throwsAsync(client.inhibit(), { message: /connect .*bus\.sock: (ECONNREFUSED|ENOENT)/ });
  await t.throwsAsync(connectLogind(daemon.address), { message: /ECONNREFUSED|ENOENT/ });
});

story(
  name('a whole shutdown: a longer delay is asked for, pods end by priority, then the machine may go'),
  async (t) => {
    const { daemon, logind, confDir, folder } = await scene(t, { delaySeconds: 1 });
    const steps: string[] = [];
    const gone = new Set<string>();
    const pods = [
      { metadata: { uid: 'web', name: 'web', namespace: 'default' }, spec: {} },
      { metadata: { uid: 'dns', name: 'dns', namespace: 'kube-system' }, spec: { priority: 2_000_001_000 } },
    ] as unknown as Pod[];
    const shutdown = createNodeShutdown(
      {
        nodeName: 'n1',
        periods: [
          { priority: 0, seconds: 5 },
          { priority: 2_000_000_000, seconds: 2 },
        ],
        stateFile: join(folder, 'graceful_node_shutdown_state'),
        logindConfDir: confDir,
      },
      {
        connect: () => connectLogind(daemon.address),
        pods: {
          isComplete: () => true,
          active: () => pods.filter(({ metadata }) => !gone.has(metadata.uid)),
          async condemn(uid) {
            steps.push(`kill ${uid}`);
            await systemClock.sleep(100);
            steps.push(`gone ${uid}`);
            gone.add(uid);
          },
          isReleased: (uid) => gone.has(uid),
        },
        refreshNode: () => steps.push(shutdown.problem() ?? 'ready'),
        events: { event() {} },
        showState() {},
        clock: systemClock,
        log: silentLogger,
      },
    );
    const stop = new AbortController();
    const done = shutdown.run(stop.signal);
    await eventually('the lock', () => logind.locks().length === 1);
    t.is(logind.delaySeconds(), 7);
    t.is(await logind.shutdown(), 'released');
    t.deepEqual(steps, ['node is shutting down', 'kill web', 'gone web', 'kill dns', 'gone dns']);
    logind.cancel();
    await eventually('the lock again', () => logind.locks().length === 1);
    t.is(steps.at(-1), 'ready');
    stop.abort();
    await done;
    await eventually('the lock is given back', () => logind.locks().length === 0);
  },
);
