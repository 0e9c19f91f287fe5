import test from 'ava';
import { createPressureHandler, isWelcomeUnderPressure } from '../../../../agent/eviction/admission.ts';
import type { PressureCondition } from '../../../../agent/eviction/signals.ts';
import { namedPod } from './stats.ts';

const burstable = { containers: [{ name: 'app', resources: { requests: { memory: '1Mi' } } }] };
const tolerating = (toleration: object) => ({ tolerations: [toleration] });
const TAINT = 'node.kubernetes.io/memory-pressure';

for (const [what, conditions, spec, welcome] of [
  ['no pressure', [], {}, true],
  ['memory: best effort', ['MemoryPressure'], {}, false],
  ['memory: burstable', ['MemoryPressure'], burstable, true],
  ['memory: tolerates the taint', ['MemoryPressure'], tolerating({ key: TAINT, operator: 'Exists' }), true],
  [
    'memory: tolerates it by an empty value',
    ['MemoryPressure'],
    tolerating({ key: TAINT, effect: 'NoSchedule' }),
    true,
  ],
  ['memory: tolerates everything', ['MemoryPressure'], tolerating({ operator: 'Exists' }), true],
  [
    'memory: tolerates only NoExecute',
    ['MemoryPressure'],
    tolerating({ key: TAINT, operator: 'Exists', effect: 'NoExecute' }),
    false,
  ],
  [
    'memory: tolerates another',
    ['MemoryPressure'],
    tolerating({ key: 'node.kubernetes.io/disk-pressure', operator: 'Exists' }),
    false,
  ],
  ['memory: tolerates another value', ['MemoryPressure'], tolerating({ key: TAINT, value: 'x' }), false],
  ['disk: burstable', ['DiskPressure'], burstable, false],
  ['disk: tolerates everything', ['DiskPressure'], tolerating({ operator: 'Exists' }), false],
  ['disk: critical', ['DiskPressure'], { priority: 2_000_000_000 }, true],
  ['processes: burstable', ['PIDPressure'], burstable, false],
  ['memory and disk: burstable', ['MemoryPressure', 'DiskPressure'], burstable, false],
  ['memory and disk: critical', ['MemoryPressure', 'DiskPressure'], { priority: 2_000_001_000 }, true],
] as [string, PressureCondition[], object, boolean][])
  test(`${what}: ${welcome ? 'taken' : 'refused'}`, (t) => {
    t.is(isWelcomeUnderPressure(namedPod('p', spec), new Set(conditions)), welcome);
  });

test('static pods are taken whatever the node lacks', (t) => {
  const pod = namedPod('p', {}, { annotations: { 'kubernetes.io/config.source': 'file' } });
  t.true(isWelcomeUnderPressure(pod, new Set(['DiskPressure'])));
});

test("a refusal is told in upstream's words", async (t) => {
  const handler = createPressureHandler(() => new Set(['DiskPressure', 'PIDPressure']));
  t.deepEqual(await handler.admit(namedPod('p'), [], new AbortController().signal), {
    reason: 'Evicted',
    message: 'The node had condition: [DiskPressure PIDPressure]. ',
  });
});
