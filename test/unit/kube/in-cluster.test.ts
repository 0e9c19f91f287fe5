import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadInClusterConfig } from '../../../src/kube/in-cluster.ts';

test('a pod finds its API server by environment and service account; others do not', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'service-account-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const options = { userAgent: 'x', folder };
  const environment = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' };
  t.is(loadInClusterConfig(environment, options), undefined, 'no token');
  writeFileSync(join(folder, 'token'), 'secret\n');
  writeFileSync(join(folder, 'ca.crt'), 'PEM');
  t.is(loadInClusterConfig({}, options), undefined, 'no pod');
  t.deepEqual(loadInClusterConfig(environment, options), {
    server: 'https://10.96.0.1:443',
    token: 'secret',
    tokenFile: join(folder, 'token'),
    caFile: join(folder, 'ca.crt'),
    caPem: 'PEM',
    userAgent: 'x',
  });
  t.is(
    loadInClusterConfig({ ...environment, KUBERNETES_SERVICE_HOST: 'fd00::1' }, options)?.server,
    'https://[fd00::1]:443',
  );
});
