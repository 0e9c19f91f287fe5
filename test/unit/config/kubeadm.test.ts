import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { nodeStatusReportFrequencyMs } from '../../../agent/config/sections/api.ts';
import { kubeProxyConfiguration, resolveBindAddresses } from '../../../proxy/config/kube-proxy-configuration.ts';
import { loadConfig } from '../../../src/config/load.ts';

const fixture = (name: string) => join(import.meta.dirname, 'fixtures', name);
const directory = mkdtempSync(join(tmpdir(), 'berth-kubeadm-'));
test.after.always(() => rmSync(directory, { recursive: true }));

function edited(name: string, edit: (text: string) => string): string {
  const file = join(directory, `${Math.random()}.yaml`);
  writeFileSync(file, edit(readFileSync(fixture(name), 'utf8')));
  return file;
}

test("a KubeletConfiguration as kubeadm writes it is taken; what it doesn't set is at upstream's default", (t) => {
  const warnings: string[] = [];
  const config = loadConfig(kubeletConfiguration, {
    file: fixture('kubeadm-kubelet.yaml'),
    onWarning: (message) => warnings.push(message.replace(/^.*: field/, 'field')),
  });
  t.like(config, {
    cgroupDriver: 'systemd',
    clusterDNS: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    staticPodPath: '/etc/kubernetes/manifests',
    resolvConf: '/run/systemd/resolve/resolv.conf',
    syncFrequencyMs: 60_000,
    nodeStatusUpdateFrequencyMs: 10_000,
    maxPods: 110,
    port: 10250,
    authentication: { x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' }, anonymous: { enabled: false } },
    evictionHard: { 'memory.available': '100Mi' },
    containerLogMaxSizeBytes: 10 * 1024 * 1024,
  });
  t.is(nodeStatusReportFrequencyMs(config), 300_000);
  t.deepEqual(warnings, []);
});

test('a set status update frequency is the report frequency too', (t) => {
  const file = edited('kubeadm-kubelet.yaml', (text) =>
    text.replace('nodeStatusUpdateFrequency: 0s', 'nodeStatusUpdateFrequency: 4s'),
  );
  t.is(nodeStatusReportFrequencyMs(loadConfig(kubeletConfiguration, { file })), 4000);
});

test('a KubeProxyConfiguration as kubeadm writes it is taken without a warning', (t) => {
  const warnings: string[] = [];
  const config = loadConfig(kubeProxyConfiguration, {
    file: fixture('kubeadm-kube-proxy.yaml'),
    onWarning: (message) => warnings.push(message),
  });
  t.deepEqual(warnings, []);
  t.like(config, {
    mode: 'iptables',
    clusterCIDR: '10.244.0.0/16',
    detectLocalMode: 'ClusterCIDR',
    iptables: { masqueradeBit: 14, localhostNodePorts: true, syncPeriodMs: 30_000, minSyncPeriodMs: 1000 },
    conntrack: {
      maxPerCore: 32768,
      min: 131072,
      tcpEstablishedTimeoutMs: 86_400_000,
      tcpCloseWaitTimeoutMs: 3_600_000,
    },
    clientConnection: { kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf' },
  });
  t.deepEqual(resolveBindAddresses(config), { healthz: '0.0.0.0:10256', metrics: '127.0.0.1:10249' });
});

test('the default addresses follow the family of bindAddress', (t) => {
  const config = loadConfig(kubeProxyConfiguration, {
    flags: [
      { flag: '--bind-address', field: 'bindAddress', value: '::' },
      { flag: '--metrics-bind-address', field: 'metricsBindAddress', value: '::1' },
    ],
  });
  t.deepEqual(resolveBindAddresses(config), { healthz: '[::]:10256', metrics: '[::1]:10249' });
});

const KUBELET_REFUSED: [string, string, RegExp][] = [
  [
    'another way to authorize',
    'mode: Webhook',
    /field "authorization.mode" is "ABAC"; accepted: "Webhook", "AlwaysAllow"/,
  ],
  [
    'a misspelt name',
    'clusterDomain:',
    /unknown field "clusterDomian" \(value "cluster.local"\); did you mean "clusterDomain"\?/,
  ],
];
test('kubelet fields that would be unsafe or unknown are refused by name', (t) => {
  const swaps = ['mode: ABAC', 'clusterDomian:'];
  for (const [index, [what, from, message]] of KUBELET_REFUSED.entries()) {
    const file = edited('kubeadm-kubelet.yaml', (text) => text.replace(from, swaps[index]!));
    t.throws(() => loadConfig(kubeletConfiguration, { file }), { message }, what);
  }
});

const PROXY_REFUSED: [string, unknown, RegExp][] = [
  ['clusterCIDR', '10.244.0.0', /"clusterCIDR" is "10.244.0.0"; accepted: one CIDR, or one of each IP family/],
  ['clusterCIDR', '10.244.0.0/16,10.245.0.0/16', /accepted: one CIDR, or one of each/],
  ['nodePortAddresses', 'primary,10.0.0.0/8', /"nodePortAddresses" is \["primary","10.0.0.0\/8"\]/],
  ['detectLocalMode', 'BridgeInterface', /"detectLocal.bridgeInterface" is ""; accepted: the name of a bridge/],
  ['iptables.masqueradeBit', '32', /"iptables.masqueradeBit" is 32; accepted: an integer from 0 to 31/],
  ['iptables.minSyncPeriod', '60s', /"iptables.minSyncPeriod" is "60000ms"; accepted: at most iptables.syncPeriod/],
  ['mode', 'ebpf', /"mode" is "ebpf"; accepted: "auto", "iptables"/],
];
for (const [field, value, message] of PROXY_REFUSED)
  test(`kube-proxy's ${field} = ${value} is refused`, (t) => {
    t.throws(() => loadConfig(kubeProxyConfiguration, { flags: [{ flag: '--x', field, value }] }), { message });
  });
