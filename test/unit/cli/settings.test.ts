import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { readSettings, settingsFile, writeSettings } from '../../../cli/settings.ts';
import { settingsFromFlags, upDefaults } from '../../../cli/settings-from-flags.ts';

const flags = {
  ...upDefaults,
  rootDir: '/var/lib/berth',
  nodeIp: '192.0.2.7',
  nodeName: 'Node-1',
  dockerEndpoint: 'unix:///run/d.sock',
};

test('a standard root has the standard folders, another root has all below itself', async (t) => {
  const standard = await settingsFromFlags(flags, undefined);
  t.is(standard.runDir, '/run/berth');
  t.is(standard.podLogsDir, '/var/log/pods');
  t.is(standard.nodeName, 'node-1');
  const other = await settingsFromFlags({ ...flags, rootDir: '/srv/second/' }, undefined);
  t.is(other.rootDir, '/srv/second');
  t.deepEqual(
    [other.runDir, other.logDir, other.podLogsDir, other.kubeconfig],
    ['/srv/second/run', '/srv/second/log', '/srv/second/logs/pods', '/srv/second/kubeconfig'],
  );
});

for (const [what, change, message] of [
  ['a relative path', { rootDir: 'here' }, /--root-dir here: must be an absolute path/],
  ['a port that is none', { apiPort: '70000' }, /--api-port 70000: must be a port number, 1 to 65535/],
  ['a node name with an underscore', { nodeName: 'a_b' }, /--node-name a_b: .*lower-case letters/],
] as const) {
  test(`refuses ${what}`, async (t) => {
    await t.throwsAsync(settingsFromFlags({ ...flags, ...change }, undefined), { message });
  });
}

test('what was written is read back; what another hand wrote is refused with its field', async (t) => {
  const rootDir = mkdtempSync(join(tmpdir(), 'berth-settings-'));
  t.teardown(() => rmSync(rootDir, { recursive: true }));
  t.is(readSettings(rootDir), undefined);
  const settings = await settingsFromFlags({ ...flags, rootDir }, undefined);
  writeSettings(settings);
  t.deepEqual(readSettings(rootDir), settings);
  writeFileSync(settingsFile(rootDir), JSON.stringify({ ...settings, apiPort: 'x' }));
  t.throws(() => readSettings(rootDir), { message: /apiPort/ });
  writeFileSync(settingsFile(rootDir), '{');
  t.throws(() => readSettings(rootDir), { message: /settings\.json: / });
});
