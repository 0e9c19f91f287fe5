import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { loadConfig } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-sysctls-'));
test.after.always(() => rmSync(directory, { recursive: true }));

function load(allowedUnsafeSysctls: string[]) {
  const file = join(directory, `${Math.random()}.yaml`);
  const config = { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', allowedUnsafeSysctls };
  writeFileSync(file, JSON.stringify(config));
  return loadConfig(kubeletConfiguration, { file });
}

test('unsafe sysctls of namespaces may be allowed', (t) => {
  const names = ['kernel.msg*', 'kernel.shmmax', 'kernel/sem', 'fs.mqueue.*', 'net.core.somaxconn'];
  t.deepEqual([...load(names).allowedUnsafeSysctls], names);
});

for (const name of ['vm.swappiness', 'kernel.*', 'fs.*', '*'])
  test(`${name} belongs to the whole host and is refused`, (t) => {
    t.throws(() => load(['net.core.somaxconn', name]), { message: /allowedUnsafeSysctls.*sysctls of namespaces/s });
  });
