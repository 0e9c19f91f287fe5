import test from 'ava';
import { createDesiredPods, type PodSink, type PodSource } from '../../../../agent/sources/source.ts';
import { podOf } from '../pod.ts';

test('merge: synced after all first sets; sets are diffs per source', async (t) => {
  const sinks: Record<string, PodSink> = {};
  const source = (name: 'api' | 'file'): PodSource => ({
    name,
    async run(sink) {
      sinks[name] = sink;
    },
  });
  const log: string[] = [];
  const desired = createDesiredPods([source('api'), source('file')], {
    updated: (pod) => log.push(`+${pod.metadata.uid}`),
    removed: (uid) => log.push(`-${uid}`),
    synced: () => log.push('synced'),
  });
  await desired.run(new AbortController().signal);
  const pod = (uid: string) => podOf({}, { uid });
  sinks['file']!.set([pod('f1')]);
  sinks['api']!.set([pod('a1'), pod('a2')]);
  sinks['api']!.set([pod('a2'), pod('a3')]);
  sinks['api']!.remove('f1');
  sinks['file']!.set([]);
  t.deepEqual(log, ['+f1', '+a1', '+a2', 'synced', '-a1', '+a2', '+a3', '-f1']);
  t.deepEqual(
    desired.list().map(({ metadata }) => metadata.uid),
    ['a2', 'a3'],
  );
});
