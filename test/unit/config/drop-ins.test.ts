import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { ConfigError, type ConfigFlag, loadConfig } from '../../../src/config/load.ts';

const HEAD = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';

/** Files by path below a folder of the test's; `base.yaml` is the file, `conf.d` the folder. A text without a head gets one. */
function load(t: ExecutionContext, files: Record<string, string>, flags: ConfigFlag[] = []) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-drop-ins-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text.includes('kind') ? text : HEAD + text);
  }
  if (files['elsewhere.yaml']) symlinkSync(join(folder, 'elsewhere.yaml'), join(folder, 'conf.d/15-link.conf'));
  const file = files['base.yaml'] === undefined ? undefined : join(folder, 'base.yaml');
  try {
    const config = loadConfig(kubeletConfiguration, { file, dropInDir: join(folder, 'conf.d'), flags });
    return { config, problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { problems: error.problems.map((one) => one.replaceAll(`${folder}/`, '')) };
  }
}

test('drop-ins are laid over the file in the order of their names; maps merge, lists and values are replaced', (t) => {
  const { config } = load(t, {
    'base.yaml':
      'maxPods: 10\nclusterDNS: [10.96.0.10]\nsystemReserved: {cpu: 100m, memory: 1Gi}\nsyncFrequency: 10s\n',
    'conf.d/20-later.conf': 'maxPods: 30\nsystemReserved: {memory: 2Gi}\n',
    'conf.d/10-first.conf': 'maxPods: 20\nclusterDNS: [10.96.0.11]\n',
  });
  t.like(config, {
    maxPods: 30,
    clusterDNS: ['10.96.0.11'],
    systemReserved: { cpu: '100m', memory: '2Gi' },
    syncFrequencyMs: 10_000,
  });
});

test('null goes back to the default, of one entry too', (t) => {
  const { config } = load(t, {
    'base.yaml': 'maxPods: 10\nsystemReserved: {cpu: 100m, memory: 1Gi}\n',
    'conf.d/10.conf': 'maxPods: null\nsystemReserved: {cpu: null}\n',
  });
  t.like(config, { maxPods: 110, systemReserved: { memory: '1Gi' } });
});

test('folders below, links and JSON count; other extensions do not', (t) => {
  const { config, problems } = load(t, {
    'elsewhere.yaml': 'podsPerCore: 7\n',
    'conf.d/10.conf.d/nested.conf': 'podsPerCore: 5\nmaxPods: 5\n',
    'conf.d/20.conf': '{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","podPidsLimit":99}',
    'conf.d/30.yaml': 'maxPods: 30\n',
    'conf.d/README': 'nothing: to see, kind: of\n',
  });
  t.deepEqual(problems, []);
  t.like(config, { maxPods: 5, podsPerCore: 7, podPidsLimit: 99 });
});

test('flags stand above drop-ins; a folder without any is right', (t) => {
  const flags = [{ flag: '--max-pods', field: 'maxPods', value: '3' }];
  t.is(load(t, { 'base.yaml': 'maxPods: 10\n', 'conf.d/10.conf': 'maxPods: 20\n' }, flags).config?.maxPods, 3);
  t.is(load(t, { 'base.yaml': 'maxPods: 10\n', 'conf.d/README': '' }).config?.maxPods, 10);
});

test('each problem names the file and line that gave the value', (t) => {
  const { problems } = load(t, {
    'base.yaml': 'maxPods: many\npodsPerCore: none\n',
    'conf.d/10.conf': '\nmaxPod: 5\npodsPerCore: 1\n',
    'conf.d/20.conf': 'syncFrequency: soon\n',
  });
  t.deepEqual(problems, [
    'conf.d/10.conf:4: unknown field "maxPod" (value 5); did you mean "maxPods"?',
    'conf.d/20.conf:3: field "syncFrequency" is "soon"; accepted: a duration such as "30s" or "1h30m"',
    'base.yaml:3: field "maxPods" is "many"; accepted: an integer from 0',
  ]);
});

test('what must hold between fields of two files is told with the one that was laid above', (t) => {
  const { problems } = load(t, {
    'base.yaml': 'shutdownGracePeriod: 10s\n',
    'conf.d/10.conf': 'shutdownGracePeriodCriticalPods: 20s\n',
  });
  t.is(problems.length, 1);
  t.regex(problems[0]!, /^conf\.d\/10\.conf:3: field "shutdownGracePeriodCriticalPods" is "20s"/);
});

test('files that are no configuration are all named at once; a folder that is not there too', (t) => {
  const { problems } = load(t, {
    'base.yaml': 'a: [',
    'conf.d/10.conf': 'apiVersion: v1\nkind: Pod\n',
    'conf.d/20.conf': '- kind: list\n',
  });
  t.is(problems.length, 3);
  t.regex(problems[0]!, /^base\.yaml: not YAML: /);
  t.is(
    problems[1],
    'conf.d/10.conf: apiVersion is "v1", kind is "Pod"; accepted: "kubelet.config.k8s.io/v1beta1" and "KubeletConfiguration"',
  );
  t.regex(problems[2]!, /^conf\.d\/20\.conf: apiVersion is absent, kind is absent; accepted: /);
  const missing = load(t, { 'base.yaml': 'maxPods: 10\n' });
  t.regex(missing.problems[0]!, /^cannot read the folder of configuration drop-ins conf\.d: ENOENT/);
});
