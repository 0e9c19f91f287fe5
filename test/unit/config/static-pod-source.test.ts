import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { ConfigError, loadConfig } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-config-'));
test.after.always(() => rmSync(directory, { recursive: true }));
let files = 0;
function load(body: string, flags: { flag: string; field: string; value: string }[] = []) {
  const file = join(directory, `${files++}.yaml`);
  writeFileSync(file, `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${body}`);
  const warnings: string[] = [];
  const config = loadConfig(kubeletConfiguration, { file, flags, onWarning: (message) => warnings.push(message) });
  return { config, warnings };
}

test('where static pods come from, how often, and how fast events go', (t) => {
  const { config, warnings } = load(
    'staticPodURL: https://manifests.example:8443/pods\nstaticPodURLHeader: {X-Token: [a, b]}\nhttpCheckFrequency: 5s\nfileCheckFrequency: 1m\neventRecordQPS: 0\neventBurst: 7\n',
  );
  t.deepEqual(warnings, []);
  t.like(config, {
    staticPodURL: 'https://manifests.example:8443/pods',
    httpCheckFrequencyMs: 5000,
    fileCheckFrequencyMs: 60_000,
    eventRecordQPS: 0,
    eventBurst: 7,
  });
  t.deepEqual(config.staticPodURLHeader, { 'X-Token': ['a', 'b'] });
  t.like(load('').config, { staticPodURL: '', httpCheckFrequencyMs: 20_000, eventRecordQPS: 50, eventBurst: 100 });
});

test('headers as a flag', (t) => {
  const flag = { flag: '--manifest-url-header', field: 'staticPodURLHeader' };
  const { config } = load('', [{ ...flag, value: 'X-A:1,X-B:http://x,X-A:2' }]);
  t.deepEqual(config.staticPodURLHeader, { 'X-A': ['1', '2'], 'X-B': ['http://x'] });
});

for (const [body, problem] of [
  ['staticPodURL: /etc/pods\n', /staticPodURL.*a URL that begins with http:\/\/ or https:\/\//],
  ['staticPodURL: ftp://x/\n', /a URL that begins with/],
  ['staticPodURLHeader: {X: a}\n', /staticPodURLHeader.*a map of lists of strings/],
  ['httpCheckFrequency: often\n', /httpCheckFrequency.*a duration/],
] as const)
  test(`refused: ${body.trim()}`, (t) => {
    const error = t.throws(() => load(body), { instanceOf: ConfigError });
    t.regex(error.problems.join('\n'), problem);
  });
