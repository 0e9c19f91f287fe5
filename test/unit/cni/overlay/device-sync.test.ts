/** Passes over a device that somebody may delete: what is remembered of the kernel never outlives it. */
import test from 'ava';
import type { Peer, SyncOutcome } from '../../../../cni/overlay/backend.ts';
import { createDeviceSync } from '../../../../cni/overlay/device-sync.ts';
import { NetlinkError } from '../../../../src/linux/netlink/socket.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

const DONE: SyncOutcome = { changed: 1, skipped: [] };
const peers = new Map<string, Peer>();
const changed = new Set(['node2']);

function open(parts: Partial<Parameters<typeof createDeviceSync>[0]> = {}) {
  const calls: string[] = [];
  const called =
    (name: string) =>
    async (...args: unknown[]): Promise<SyncOutcome> => {
      calls.push(name);
      await (parts[name as 'syncAll'] as ((...args: unknown[]) => unknown) | undefined)?.(...args);
      return DONE;
    };
  const passes = createDeviceSync(
    {
      kind: 'test',
      isOurs: () => true,
      ensure: async () => void (await called('ensure')()),
      syncAll: called('syncAll'),
      syncSome: called('syncSome'),
    },
    { log: silentLogger, clock: createFakeClock() },
  );
  const take = () => calls.splice(0);
  return { passes, take };
}

test('the first pass is over everything, a change later over its nodes alone', async (t) => {
  const { passes, take } = open();
  await passes.sync(peers, changed);
  t.deepEqual(take(), ['ensure', 'syncAll']);
  await passes.sync(peers, changed);
  t.deepEqual(take(), ['syncSome']);
  passes.forgetKernel();
  await passes.sync(peers, changed);
  t.deepEqual(take(), ['ensure', 'syncAll']);
});

test('a device that goes in the middle of a full pass: the next pass is a full one too', async (t) => {
  let goes = true;
  const { passes, take } = open({
    async syncAll() {
      if (goes) passes.forgetKernel();
      goes = false;
      return DONE;
    },
  });
  await passes.sync(peers);
  take();
  await passes.sync(peers, changed);
  t.deepEqual(take(), ['ensure', 'syncAll']);
  await passes.sync(peers, changed);
  t.deepEqual(take(), ['syncSome']);
});

test('a change that finds no device becomes a full pass; another error does not', async (t) => {
  let error: Error | undefined;
  const { passes, take } = open({
    async syncSome() {
      if (error) throw error;
      return DONE;
    },
  });
  await passes.sync(peers);
  take();
  error = new NetlinkError('add route', 'ENODEV');
  t.is(await passes.sync(peers, changed), DONE);
  t.deepEqual(take(), ['syncSome', 'ensure', 'syncAll']);
  error = new NetlinkError('add route', 'EPERM');
  await t.throwsAsync(passes.sync(peers, changed), { message: /EPERM/ });
  t.deepEqual(take(), ['syncSome']);
});

test('a full pass that fails is made again', async (t) => {
  let error: Error | undefined = new Error('no such device');
  const { passes, take } = open({
    async syncAll() {
      if (error) throw error;
      return DONE;
    },
  });
  await t.throwsAsync(passes.sync(peers), { message: 'no such device' });
  error = undefined;
  take();
  await passes.sync(peers, changed);
  t.deepEqual(take(), ['ensure', 'syncAll']);
});
