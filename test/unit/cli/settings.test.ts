import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parse } from 'yaml';
import { renderNodeConfig } from '../../../cli/cluster/node-config.ts';
import {
  nodeIpsOf,
  nodeLeaseDurationSeconds,
  readSettings,
  settingsFile,
  writeSettings,
} from '../../../cli/settings.ts';
import { checkOverlayIsKept, settingsFromFlags, upDefaults } from '../../../cli/settings-from-flags.ts';

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

test('a node’s second address is IPv6, for pods that have both', async (t) => {
  const given = await settingsFromFlags({ ...flags, nodeIp: '192.0.2.7,fd00::7' }, undefined);
  t.deepEqual(nodeIpsOf(given), ['192.0.2.7', 'fd00::7']);
  const single = await settingsFromFlags(flags, undefined);
  t.deepEqual(nodeIpsOf(single), ['192.0.2.7']);
});

for (const [what, change, message] of [
  ['a relative path', { rootDir: 'here' }, /--root-dir here: must be an absolute path/],
  ['an IPv6 node address first', { nodeIp: 'fd00::7,192.0.2.7' }, /--node-ip .*: the first address must be IPv4/],
  ['a node address that is none', { nodeIp: '192.0.2' }, /--node-ip 192\.0\.2: "192\.0\.2" is no IP address/],
  [
    'IPv6 pods on a node without such an address',
    { podCidr: '10.244.0.0/16,fd00:244::/56' },
    /nodes of IPv6 pods need an IPv6 address too, and the link with 192\.0\.2\.7 has none: .*--node-ip 192\.0\.2\.7,IPV6/,
  ],
  ['a port that is none', { apiPort: '70000' }, /--api-port 70000: must be a port number, 1 to 65535/],
  ['a node name with an underscore', { nodeName: 'a_b' }, /--node-name a_b: .*lower-case letters/],
  ['a duration that is none', { nodeMonitorPeriod: '5' }, /--node-monitor-period 5: must be a duration such as 5s/],
  ['a grace that is too short', { nodeMonitorGracePeriod: '1s' }, /--node-monitor-grace-period 1s: .* at least 2s/],
  [
    'a grace shorter than the period',
    { nodeMonitorPeriod: '1m', nodeMonitorGracePeriod: '50s' },
    /--node-monitor-grace-period 50s: must be longer than --node-monitor-period 1m/,
  ],
  [
    'a toleration before its time',
    { defaultUnreachableTolerationSeconds: '-1' },
    /--default-unreachable-toleration-seconds -1: must be a whole number of seconds/,
  ],
] as const) {
  test(`refuses ${what}`, async (t) => {
    await t.throwsAsync(settingsFromFlags({ ...flags, ...change }, undefined), { message });
  });
}

test('a cluster that runs keeps its overlay: other flags are refused, the same ones are not', async (t) => {
  const running = await settingsFromFlags({ ...flags, overlayBackend: 'vxlan' }, undefined);
  checkOverlayIsKept(flags, running);
  checkOverlayIsKept({ ...flags, overlayBackend: 'vxlan' }, running);
  checkOverlayIsKept({ ...flags, overlayBackend: 'host-gw' }, await settingsFromFlags(flags, undefined));
  const none = await settingsFromFlags({ ...flags, overlayBackend: 'none' }, undefined);
  checkOverlayIsKept({ ...flags, overlayBackend: 'none' }, none);
  for (const [given, settings, message] of [
    [
      { overlayBackend: 'udp' },
      running,
      /^--overlay-backend udp: the cluster runs with vxlan\. To change it: 'berth down'/,
    ],
    [{ overlayBackend: 'vxlan' }, none, /^--overlay-backend vxlan: the cluster runs with none/],
    [
      { netConfigPath: '/etc/x.json' },
      running,
      /^--net-config-path \/etc\/x\.json: the cluster runs with no such file/,
    ],
  ] as const)
    t.throws(() => checkOverlayIsKept({ ...flags, ...given }, settings), { message });
});

test('nodes renew their lease four times before they are given up', async (t) => {
  const leaseOf = async (nodeMonitorGracePeriod: string) =>
    nodeLeaseDurationSeconds(await settingsFromFlags({ ...flags, nodeMonitorGracePeriod }, undefined));
  t.is(await leaseOf('50s'), 40);
  t.is(await leaseOf('5m'), 40);
  t.is(await leaseOf('5100ms'), 4);
});

test('other nodes are told the names and the beat of the cluster', async (t) => {
  const text = renderNodeConfig(
    await settingsFromFlags({ ...flags, serviceCidr: '10.112.0.0/16', clusterDomain: 'berth.test' }, undefined),
  );
  t.regex(text, /^# .*--cluster-cidr 10\.244\.0\.0\/16 --service-cidr 10\.112\.0\.0\/16$/m);
  t.deepEqual(parse(text), {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    clusterDNS: ['10.112.0.10'],
    clusterDomain: 'berth.test',
    nodeLeaseDurationSeconds: 40,
    rotateCertificates: true,
    serverTLSBootstrap: true,
  });
});

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
