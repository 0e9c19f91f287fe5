import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { ConfigError, loadConfig } from '../../../src/config/load.ts';

function load(t: ExecutionContext, fields: object) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-config-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'kubelet.yaml');
  const head = { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' };
  writeFileSync(file, JSON.stringify({ ...head, ...fields }));
  return loadConfig(kubeletConfiguration, { file });
}

test('off unless asked for; periods, and steps by priority', (t) => {
  t.like(load(t, {}), { shutdownGracePeriodMs: 0, shutdownGracePeriodCriticalPodsMs: 0 });
  t.like(load(t, { shutdownGracePeriod: '30s', shutdownGracePeriodCriticalPods: '10s' }), {
    shutdownGracePeriodMs: 30_000,
    shutdownGracePeriodCriticalPodsMs: 10_000,
  });
  const steps = [{ priority: -1, shutdownGracePeriodSeconds: 5 }];
  t.deepEqual(load(t, { shutdownGracePeriodByPodPriority: steps }).shutdownGracePeriodByPodPriority, steps);
});

const step = (priority: unknown, shutdownGracePeriodSeconds: unknown) => ({ priority, shutdownGracePeriodSeconds });
const refused: [what: string, fields: object, message: RegExp][] = [
  ['below a second', { shutdownGracePeriod: '999ms' }, /"shutdownGracePeriod" is "999ms"; accepted: 0s \(off\), or 1s/],
  ['negative', { shutdownGracePeriod: '-1s' }, /"shutdownGracePeriod" is "-1s"; accepted: a duration/],
  [
    'more for critical pods than in whole',
    { shutdownGracePeriod: '10s', shutdownGracePeriodCriticalPods: '20s' },
    /"shutdownGracePeriodCriticalPods" is "20s"; accepted: at most shutdownGracePeriod \(10s\)/,
  ],
  [
    'critical pods alone',
    { shutdownGracePeriodCriticalPods: '20s' },
    /"shutdownGracePeriodCriticalPods" is "20s"; accepted: at most/,
  ],
  [
    'both ways at once',
    { shutdownGracePeriod: '10s', shutdownGracePeriodByPodPriority: [step(0, 1)] },
    /"shutdownGracePeriodByPodPriority" is .*; accepted: this list, or .* not both/,
  ],
  [
    'a priority twice',
    { shutdownGracePeriodByPodPriority: [step(5, 1), step(0, 3), step(5, 2)] },
    /"shutdownGracePeriodByPodPriority" is 5; accepted: each priority once/,
  ],
  ['a step that is none', { shutdownGracePeriodByPodPriority: [{ priority: 0 }] }, /accepted: a list of steps with/],
  ['a negative time', { shutdownGracePeriodByPodPriority: [step(0, -1)] }, /accepted: a list of steps with/],
  ['a priority beyond 32 bits', { shutdownGracePeriodByPodPriority: [step(2 ** 31, 1)] }, /accepted: a list of steps/],
  ['an unknown word in a step', { shutdownGracePeriodByPodPriority: [{ ...step(0, 1), x: 1 }] }, /a list of steps/],
];
for (const [what, fields, message] of refused)
  test(`refused by name: ${what}`, (t) => {
    t.throws(() => load(t, fields), { instanceOf: ConfigError, message });
  });
