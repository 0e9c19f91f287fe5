import test from 'ava';
import { isCriticalPod } from '../../../../agent/resources/critical.ts';
import { podOf } from '../pod.ts';

for (const [what, spec, annotations, expected] of [
  ['an ordinary pod', {}, undefined, false],
  ['a pod of the highest priority that users may define', { priority: 1_000_000_000 }, undefined, false],
  ['system-cluster-critical', { priority: 2_000_000_000 }, undefined, true],
  ['system-node-critical', { priority: 2_000_001_000 }, undefined, true],
  ['a pod of the API', {}, { 'kubernetes.io/config.source': 'api' }, false],
  ['a static pod', {}, { 'kubernetes.io/config.source': 'file' }, true],
  ['a mirror pod', {}, { 'kubernetes.io/config.mirror': 'abc' }, true],
] as const)
  test(`critical: ${what}: ${expected}`, (t) => {
    t.is(isCriticalPod(podOf(spec, annotations ? { annotations } : {})), expected);
  });
