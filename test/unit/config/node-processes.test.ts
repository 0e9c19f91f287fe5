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
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', ...fields }),
  );
  const warnings: string[] = [];
  return { config: loadConfig(kubeletConfiguration, { file, onWarning: (text) => warnings.push(text) }), warnings };
}

test('where processes belong, how many files they open, what the kernel must be: taken without a warning', (t) => {
  const fields = {
    cgroupRoot: '/',
    kubeletCgroups: '/system.slice/berth',
    systemCgroups: '/system.slice',
    maxOpenFiles: 4096,
    protectKernelDefaults: true,
  };
  const { config, warnings } = load(t, fields);
  t.like(config, fields);
  t.deepEqual(warnings, []);
});

for (const [fields, message] of [
  [{ systemCgroups: '/system' }, /"systemCgroups" is "\/system"; accepted: with cgroupRoot, or not at all/],
  [{ kubeletCgroups: 'kubelet' }, /"kubeletCgroups" is "kubelet"; accepted: the path of a cgroup/],
  [{ kubeletCgroups: '/a//b' }, /"kubeletCgroups" is "\/a\/\/b"; accepted: the path of a cgroup/],
  [{ cgroupRoot: '/', systemCgroups: '/' }, /"systemCgroups" is "\/"; accepted: the path of a cgroup/],
  [{ maxOpenFiles: -1 }, /"maxOpenFiles" is -1; accepted: an integer from 0/],
  [{ protectKernelDefaults: 'yes' }, /"protectKernelDefaults" is "yes"; accepted: /],
] as const)
  test(`refused by name: ${JSON.stringify(fields)}`, (t) => {
    t.throws(() => load(t, fields), { instanceOf: ConfigError, message });
  });
