import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { renderConfigz } from '../../../agent/config/configz.ts';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { loadConfig } from '../../../src/config/load.ts';

function load(t: ExecutionContext, config: object) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-configz-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'kubelet.yaml');
  writeFileSync(file, JSON.stringify(config));
  return loadConfig(kubeletConfiguration, { file });
}

test("names and texts are the file's again, and masks cover what may be secret", (t) => {
  const shown = renderConfigz(
    load(t, {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      syncFrequency: '90s',
      staticPodURL: 'http://localhost/pods',
      staticPodURLHeader: { Authorization: ['Bearer s3cret'] },
    }),
  );
  t.like(shown, {
    kind: 'KubeletConfiguration',
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    syncFrequency: '1m30s',
    nodeStatusUpdateFrequency: '10s',
    runtimeRequestTimeout: '2m0s',
    containerLogMaxSize: '10Mi',
    cpuCFSQuotaPeriod: '100ms',
    authentication: { webhook: { cacheTTL: '2m0s' } },
    staticPodURLHeader: { Authorization: ['<masked>'] },
  });
  t.notRegex(JSON.stringify(shown), /s3cret|"[a-zA-Z]+Ms"|"[a-zA-Z]+Bytes"/);
});

test('what it shows is a configuration that means the same', (t) => {
  const first = loadConfig(kubeletConfiguration);
  t.deepEqual(load(t, renderConfigz(first)), first);
});
