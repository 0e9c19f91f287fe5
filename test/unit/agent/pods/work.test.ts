import test from 'ava';
import { asksForSomethingElse } from '../../../../agent/pods/work.ts';
import { podOf } from '../pod.ts';

test('a new version asks for something when its spec, labels or deletion say so, or a condition that its readiness waits for', (t) => {
  const pod = podOf({ readinessGates: [{ conditionType: 'a/b' }] });
  const shown = (type: string, status: string) => ({ ...pod, status: { conditions: [{ type, status }] } });
  t.false(asksForSomethingElse(pod, { ...pod, metadata: { ...pod.metadata, resourceVersion: '9' } }));
  t.false(asksForSomethingElse(pod, { ...pod, status: { phase: 'Running' } }));
  t.false(asksForSomethingElse(pod, shown('other', 'True')));
  t.true(asksForSomethingElse(pod, shown('a/b', 'False')));
  t.true(asksForSomethingElse(shown('a/b', 'False'), shown('a/b', 'True')));
  t.false(asksForSomethingElse(shown('a/b', 'True'), shown('a/b', 'True')));
  t.true(asksForSomethingElse(pod, { ...pod, metadata: { ...pod.metadata, labels: { a: 'b' } } }));
  t.true(asksForSomethingElse(pod, { ...pod, metadata: { ...pod.metadata, deletionTimestamp: 'now' } }));
  t.true(asksForSomethingElse(pod, podOf({ containers: [{ name: 'app', image: 'other' }] })));
  const open = podOf();
  t.false(asksForSomethingElse(open, { ...open, status: { conditions: [{ type: 'a/b', status: 'True' }] } }));
});
