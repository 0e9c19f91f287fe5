import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { ConfigError, loadConfig } from '../../../src/config/load.ts';

const HEAD = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';

function load(t: ExecutionContext, yaml: string) {
  const folder = mkdtempSync('/tmp/berth-unit-config-');
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'kubelet.yaml');
  writeFileSync(file, HEAD + yaml);
  const warnings: string[] = [];
  return { config: loadConfig(kubeletConfiguration, { file, onWarning: (text) => warnings.push(text) }), warnings };
}

test('thresholds, ages and sizes of garbage collection and logs take effect, and nobody warns', (t) => {
  const { config, warnings } = load(
    t,
    'imageGCHighThresholdPercent: 70\nimageGCLowThresholdPercent: 60\nimageMinimumGCAge: 10s\nimageMaximumGCAge: 168h\ncontainerLogMaxSize: 1Mi\ncontainerLogMaxFiles: 2\ncontainerLogMaxWorkers: 3\ncontainerLogMonitorInterval: 3s\n',
  );
  t.deepEqual(warnings, []);
  t.like(config, {
    imageGCHighThresholdPercent: 70,
    imageGCLowThresholdPercent: 60,
    imageMinimumGCAgeMs: 10_000,
    imageMaximumGCAgeMs: 168 * 3600_000,
    containerLogMaxSizeBytes: 1024 * 1024,
    containerLogMaxFiles: 2,
  });
});

for (const [yaml, field, accepted] of [
  ['imageGCHighThresholdPercent: 101', 'imageGCHighThresholdPercent', 'an integer from 0 to 100'],
  ['imageGCHighThresholdPercent: 85%', 'imageGCHighThresholdPercent', 'an integer from 0 to 100'],
  [
    'imageGCLowThresholdPercent: 85',
    'imageGCLowThresholdPercent',
    'an integer below imageGCHighThresholdPercent, which is 85',
  ],
  ['imageGCHighThresholdPercent: 80', 'imageGCLowThresholdPercent', 'an integer below'],
  ['imageMaximumGCAge: 90s', 'imageMaximumGCAge', 'a duration above imageMinimumGCAge, which is 120s'],
  ['imageMaximumGCAge: -1h', 'imageMaximumGCAge', 'a duration such as'],
  ['imageMinimumGCAge: soon', 'imageMinimumGCAge', 'a duration such as'],
  ['containerLogMaxSize: 10MB', 'containerLogMaxSize', 'a quantity of bytes'],
  ['containerLogMaxSize: 0', 'containerLogMaxSize', 'a quantity of bytes above 0'],
  ['containerLogMaxFiles: 1', 'containerLogMaxFiles', 'an integer from 2'],
  ['containerLogMaxWorkers: 0', 'containerLogMaxWorkers', 'an integer from 1'],
  [
    'containerLogMonitorInterval: 2s',
    'containerLogMonitorInterval',
    'a duration such as "30s" or "1h30m", at least 3s',
  ],
] as const)
  test(`refused by name: ${yaml}`, (t) => {
    const error = t.throws(() => load(t, `${yaml}\n`), { instanceOf: ConfigError });
    t.is(error?.problems.length, 1);
    t.true(error?.message.includes(`field "${field}" is `), error?.message);
    t.true(error?.message.includes(`accepted: ${accepted}`), error?.message);
  });
