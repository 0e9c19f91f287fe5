import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { openSqliteStore } from '../../../control-plane/store/sqlite-store.ts';
import { CompactedError, type StoreEvent } from '../../../control-plane/store/store.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { storeContract } from './contract.ts';

const deps = { clock: systemClock, log: silentLogger };

async function scratchFile() {
  const directory = await mkdtemp(join(tmpdir(), 'berth-store-'));
  return { path: join(directory, 'state.db'), remove: () => rm(directory, { recursive: true, force: true }) };
}

storeContract(test, 'sqlite in memory', async () => {
  const store = await openSqliteStore({ path: ':memory:' }, deps);
  return { store, dispose: () => store.close() };
});

storeContract(test, 'sqlite file', async () => {
  const { path, remove } = await scratchFile();
  const store = await openSqliteStore({ path }, deps);
  return {
    store,
    reopen: () => openSqliteStore({ path }, deps),
    async dispose() {
      await store.close();
      await remove();
    },
  };
});

storeContract(test, 'sqlite file with little memory', async () => {
  const { path, remove } = await scratchFile();
  // Nearly every watch of the past must read the disk.
  const store = await openSqliteStore({ path, recentEvents: 1, synchronous: 'full' }, deps);
  return {
    store,
    reopen: () => openSqliteStore({ path, recentEvents: 1 }, deps),
    async dispose() {
      await store.close();
      await remove();
    },
  };
});

test('the file is private and belongs to one process', async (t) => {
  const { path, remove } = await scratchFile();
  t.teardown(remove);
  const store = await openSqliteStore({ path }, deps);
  t.teardown(() => store.close());
  t.is((await stat(path)).mode & 0o777, 0o600);
  await t.throwsAsync(openSqliteStore({ path }, deps), { message: /another process has it open/ });
  await t.throwsAsync(openSqliteStore({ path: join(path, 'below') }, deps), { message: /cannot open the store/ });
});

test('after a kill the acknowledged writes are there and no revision is used twice', async (t) => {
  const { path, remove } = await scratchFile();
  t.teardown(remove);
  const script = `
    import { openSqliteStore } from ${JSON.stringify(new URL('../../../control-plane/store/sqlite-store.ts', import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL('../../../src/runtime/clock.ts', import.meta.url).href)};
    import { silentLogger } from ${JSON.stringify(new URL('../../../src/runtime/log.ts', import.meta.url).href)};
    const store = await openSqliteStore({ path: ${JSON.stringify(path)} }, { clock: systemClock, log: silentLogger });
    for (let index = 0; index < 50; index++)
      await store.put({ resource: 'pods', namespace: 'default', name: 'p' + index }, '{}', 0);
    process.stdout.write(String(store.revision()));
    process.stdout.write('\\n', () => process.kill(process.pid, 'SIGKILL'));
  `;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  const acknowledged = Number(
    await run.then(
      () => t.fail('was not killed'),
      (error) => error.stdout,
    ),
  );
  t.true(acknowledged > 50);
  const store = await openSqliteStore({ path }, deps);
  t.teardown(() => store.close());
  t.is((await store.list({ resource: 'pods' })).records.length, 50);
  const { record } = (await store.put({ resource: 'pods', namespace: 'default', name: 'new' }, '{}', 0)) as {
    record: { revision: number };
  };
  t.true(record.revision > acknowledged);
  // Who had seen everything goes on; a revision that may have been lost is refused.
  const events: StoreEvent[] = [];
  await store.watch(
    { resource: 'pods', fromRevision: acknowledged },
    { events: (batch) => void events.push(...batch), ended: () => {} },
  );
  await eventually('the new one is told', () => events.length > 0);
  t.deepEqual(
    events.map((event) => event.record.key.name),
    ['new'],
  );
  await t.throwsAsync(store.list({ resource: 'pods', revision: acknowledged + 1 }), { instanceOf: CompactedError });
});

test('history is kept for its time, then compacted; its number of events is bounded', async (t) => {
  let nowMs = 0;
  let timer: (() => void) | undefined;
  const clock = {
    ...systemClock,
    monotonicMs: () => nowMs,
    after: (_ms: number, fire: () => void) => {
      timer = fire;
      return () => {};
    },
  };
  const store = await openSqliteStore({ path: ':memory:', historyMs: 300_000 }, { clock, log: silentLogger });
  t.teardown(() => store.close());
  const start = store.revision();
  await store.put({ resource: 'pods', namespace: 'default', name: 'a' }, '{}', 0);
  const minute = async () => {
    nowMs += 60_000;
    timer?.();
    await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const listAtStart = () => store.list({ resource: 'pods', revision: start });
  for (let count = 0; count < 5; count++) await minute();
  await t.notThrowsAsync(listAtStart());
  for (let count = 0; count < 2; count++) await minute();
  await eventually('the history is gone', () =>
    listAtStart().then(
      () => false,
      () => true,
    ),
  );
  await t.throwsAsync(listAtStart(), { instanceOf: CompactedError });
});
