import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { loadConfig } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-crash-loop-'));
test.after.always(() => rmSync(directory, { recursive: true }));

function load(crashLoopBackOff?: object) {
  const file = join(directory, `${Math.random()}.yaml`);
  const config = { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', crashLoopBackOff };
  writeFileSync(file, JSON.stringify(config));
  return loadConfig(kubeletConfiguration, { file }).crashLoopBackOff.maxContainerRestartPeriodMs;
}

test('the longest wait between restarts: five minutes, or what the configuration says', (t) => {
  t.is(load(), 300_000);
  t.is(load({ maxContainerRestartPeriod: '1s' }), 1_000);
  t.is(load({ maxContainerRestartPeriod: '4m30s' }), 270_000);
});

for (const maxContainerRestartPeriod of ['999ms', '301s', '0s', '-1s', 'soon', 5])
  test(`${maxContainerRestartPeriod} is refused by name`, (t) => {
    t.throws(() => load({ maxContainerRestartPeriod }), { message: /crashLoopBackOff\.maxContainerRestartPeriod/ });
  });
