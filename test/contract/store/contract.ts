import type { TestFn } from 'ava';
import {
  CompactedError,
  FutureRevisionError,
  type Store,
  type StoreEvent,
  type WatchOptions,
} from '../../../control-plane/store/store.ts';
import { eventually } from '../../support/eventually.ts';

/** Opens a fresh, empty store; `reopen` opens the same data again after a close (absent: data ends with the store). */
export interface StoreUnderTest {
  readonly store: Store;
  readonly reopen?: () => Promise<Store>;
  readonly dispose: () => Promise<void>;
}

const key = (name: string, namespace = 'default', resource = 'pods') => ({ resource, namespace, name });
const names = (list: { records: readonly { key: { namespace: string; name: string } }[] }) =>
  list.records.map((record) => `${record.key.namespace}/${record.key.name}`);

/** What every store must do; run by each implementation's test file. */
export function storeContract(test: TestFn, name: string, open: () => Promise<StoreUnderTest>): void {
  const each = (title: string, body: (t: import('ava').ExecutionContext, under: StoreUnderTest) => Promise<void>) =>
    test(`${name}: ${title}`, async (t) => {
      const under = await open();
      try {
        await body(t, under);
      } finally {
        await under.dispose();
      }
    });

  async function create(store: Store, at: ReturnType<typeof key>, value = '{}') {
    const result = await store.put(at, value, 0);
    if (!result.ok) throw new Error(`${at.name} exists`);
    return result.record;
  }

  async function collect(store: Store, options: WatchOptions) {
    const events: StoreEvent[] = [];
    let ended: { error: Error | undefined } | undefined;
    const handle = await store.watch(options, {
      events: (batch) => void events.push(...batch),
      ended: (error) => {
        ended = { error };
      },
    });
    return { events, handle, ended: () => ended };
  }

  async function until(condition: () => boolean) {
    await eventually('what the store tells', condition);
  }

  each('an empty store is at a positive revision', async (t, { store }) => {
    t.true(store.revision() >= 1);
    t.is(await store.get(key('a')), undefined);
    t.deepEqual(await store.list({ resource: 'pods' }), { records: [], revision: store.revision(), remaining: 0 });
  });

  each('create, read, update, delete under one growing revision', async (t, { store }) => {
    const created = await create(store, key('a'), 'one');
    t.is(created.revision, store.revision());
    t.is((await store.get(key('a')))?.value, 'one');
    const other = await create(store, key('x', '', 'nodes'));
    t.true(other.revision > created.revision);
    const updated = await store.put(key('a'), 'two', created.revision);
    t.true(updated.ok && updated.record.revision > other.revision);
    const deleted = await store.delete(key('a'), store.revision());
    t.true(deleted.ok);
    if (deleted.ok) {
      t.is(deleted.record.value, 'two');
      t.is(deleted.record.revision, store.revision());
    }
    t.is(await store.get(key('a')), undefined);
  });

  each('a failed expectation changes nothing and shows what is there', async (t, { store }) => {
    const created = await create(store, key('a'), 'one');
    const before = store.revision();
    for (const result of [
      await store.put(key('a'), 'two', 0),
      await store.put(key('a'), 'two', created.revision + 1),
      await store.delete(key('a'), created.revision + 1),
    ]) {
      t.false(result.ok);
      if (!result.ok) t.is(result.current?.value, 'one');
    }
    t.deepEqual(await store.put(key('b'), 'x', 7), { ok: false, current: undefined });
    t.deepEqual(await store.delete(key('b'), 0), { ok: false, current: undefined });
    t.is(store.revision(), before);
  });

  each('of many concurrent writers of one key exactly one wins each round', async (t, { store }) => {
    await create(store, key('a'));
    for (let round = 0; round < 5; round++) {
      const { revision } = (await store.get(key('a')))!;
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, writer) => store.put(key('a'), `${round}/${writer}`, revision)),
      );
      t.is(results.filter((result) => result.ok).length, 1);
    }
  });

  each('concurrent creates get distinct revisions', async (t, { store }) => {
    const records = await Promise.all(Array.from({ length: 200 }, (_, index) => create(store, key(`p${index}`))));
    t.is(new Set(records.map((record) => record.revision)).size, 200);
    t.is((await store.list({ resource: 'pods' })).records.length, 200);
  });

  each('lists are ordered by namespace, then name; filtered and paged', async (t, { store }) => {
    for (const [namespace, name] of ['b/1', 'a/2', 'a-b/1', 'a/10', 'a/1'].map((place) => place.split('/')))
      await create(store, key(name!, namespace));
    await create(store, key('other', 'a', 'services'));
    const all = ['a/1', 'a/10', 'a/2', 'a-b/1', 'b/1'];
    t.deepEqual(names(await store.list({ resource: 'pods' })), all);
    t.deepEqual(names(await store.list({ resource: 'pods', namespace: 'a' })), all.slice(0, 3));
    const first = await store.list({ resource: 'pods', limit: 2 });
    t.deepEqual(names(first), all.slice(0, 2));
    t.is(first.remaining, 3);
    const second = await store.list({ resource: 'pods', limit: 2, after: first.records[1]!.key });
    t.deepEqual(names(second), all.slice(2, 4));
    t.is(second.remaining, 1);
    t.deepEqual(names(await store.list({ resource: 'pods', namespace: 'a', after: { namespace: 'a', name: '1' } })), [
      'a/10',
      'a/2',
    ]);
  });

  each('a list at an old revision shows the old state', async (t, { store }) => {
    const a = await create(store, key('a'), 'a1');
    const b = await create(store, key('b'), 'b1');
    const then = store.revision();
    await store.put(key('a'), 'a2', a.revision);
    await store.delete(key('b'), b.revision);
    await create(store, key('c'));
    const past = await store.list({ resource: 'pods', revision: then });
    t.deepEqual(
      past.records.map((record) => record.value),
      ['a1', 'b1'],
    );
    t.is(past.revision, then);
    t.deepEqual(names(await store.list({ resource: 'pods', revision: then, after: a.key, limit: 1 })), ['default/b']);
    await t.throwsAsync(store.list({ resource: 'pods', revision: store.revision() + 1 }), {
      instanceOf: FutureRevisionError,
    });
  });

  each('a watch delivers past and new events once, in order, with the old state', async (t, { store }) => {
    const start = store.revision();
    const a = await create(store, key('a'), 'a1');
    await create(store, key('ignored', 'default', 'services'));
    const watch = await collect(store, { resource: 'pods', fromRevision: start });
    const updated = await store.put(key('a'), 'a2', a.revision);
    t.true(updated.ok);
    if (updated.ok) await store.delete(key('a'), updated.record.revision);
    await until(() => watch.events.length >= 3);
    t.deepEqual(
      watch.events.map((event) => [event.type, event.previous?.value, event.record.value]),
      [
        ['put', undefined, 'a1'],
        ['put', 'a1', 'a2'],
        ['delete', 'a2', 'a2'],
      ],
    );
    const revisions = watch.events.map((event) => event.revision);
    t.deepEqual(
      revisions,
      [...revisions].sort((left, right) => left - right),
    );
    t.is(watch.events[2]!.record.revision, watch.events[2]!.revision);
    await create(store, key('ignored-too', 'default', 'services'));
    await until(() => watch.handle.deliveredRevision() === store.revision());
    watch.handle.stop();
    await create(store, key('late'));
    t.is(watch.events.length, 3);
  });

  each('watches are narrowed to a namespace and a name', async (t, { store }) => {
    const fromRevision = store.revision();
    const inA = await collect(store, { resource: 'pods', namespace: 'a', fromRevision });
    const one = await collect(store, { resource: 'pods', namespace: 'a', name: '2', fromRevision });
    for (const place of [key('1', 'a'), key('2', 'a'), key('2', 'b')]) await create(store, place);
    await until(() => inA.events.length === 2 && one.events.length === 1);
    t.is(one.events[0]!.record.key.name, '2');
  });

  each('concurrent watches see the same order under concurrent writes', async (t, { store }) => {
    const fromRevision = store.revision();
    const watches = await Promise.all(
      Array.from({ length: 5 }, () => collect(store, { resource: 'pods', fromRevision })),
    );
    await Promise.all(Array.from({ length: 100 }, (_, index) => create(store, key(`p${index}`))));
    const late = await collect(store, { resource: 'pods', fromRevision });
    await until(() => [...watches, late].every((watch) => watch.events.length === 100));
    const order = watches[0]!.events.map((event) => event.revision);
    for (const watch of [...watches, late])
      t.deepEqual(
        watch.events.map((event) => event.revision),
        order,
      );
  });

  each('compaction refuses the past and keeps the present', async (t, { store }) => {
    const start = store.revision();
    let record = await create(store, key('a'), 'a0');
    await create(store, key('b'), 'b0');
    for (let round = 1; round <= 5; round++) {
      const result = await store.put(key('a'), `a${round}`, record.revision);
      if (result.ok) record = result.record;
    }
    const compacted = store.revision();
    await store.compact(compacted);
    const error = await t.throwsAsync(collect(store, { resource: 'pods', fromRevision: start }), {
      instanceOf: CompactedError,
    });
    t.is((error as CompactedError).compactedRevision, compacted);
    await t.throwsAsync(store.list({ resource: 'pods', revision: start }), { instanceOf: CompactedError });
    t.deepEqual(
      (await store.list({ resource: 'pods', revision: compacted })).records.map((one) => one.value),
      ['a5', 'b0'],
    );
    const watch = await collect(store, { resource: 'pods', fromRevision: compacted });
    await store.delete(key('a'), record.revision);
    await until(() => watch.events.length === 1);
    t.is(watch.events[0]!.previous?.value, 'a5');
    await t.throwsAsync(store.compact(store.revision() + 1), { instanceOf: FutureRevisionError });
  });

  each('closing ends the watches and refuses further calls', async (t, { store }) => {
    const watch = await collect(store, { resource: 'pods', fromRevision: store.revision() });
    const pending = create(store, key('a'));
    await store.close();
    t.truthy(await pending);
    await until(() => watch.ended() !== undefined);
    await t.throwsAsync(store.get(key('a')));
    await t.throwsAsync(store.put(key('b'), '', 0));
    await store.close();
  });

  each('data, history and revisions survive a restart', async (t, { store, reopen }) => {
    if (!reopen) {
      t.pass('this store ends with its process');
      return;
    }
    const start = store.revision();
    const a = await create(store, key('a'), 'a1');
    await create(store, key('b'), 'b1');
    const then = store.revision();
    await store.delete(key('b'), then);
    await store.put(key('a'), 'a2', a.revision);
    const last = store.revision();
    await store.close();
    const again = await reopen();
    t.true(again.revision() >= last);
    t.deepEqual(
      (await again.list({ resource: 'pods' })).records.map((record) => [record.value, record.revision]),
      [['a2', last]],
    );
    t.deepEqual(names(await again.list({ resource: 'pods', revision: then })), ['default/a', 'default/b']);
    const watch = await collect(again, { resource: 'pods', fromRevision: start });
    await until(() => watch.events.length === 4);
    const created = await create(again, key('c'));
    t.true(created.revision > last);
    await until(() => watch.events.length === 5);
    await again.close();
  });
}
