/** The CIS Kubernetes Benchmark 1.12, section 4, item by item: the profile that we ship names each of them, and a node with nothing configured passes those that a configuration decides. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { settleConfig, writeConfigInForce } from '../../../cli/roots/settled-config.ts';
import { kubeProxyConfiguration, resolveBindAddresses } from '../../../proxy/config/kube-proxy-configuration.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { type BenchCheck, evaluateCheck, loadBenchmark } from '../../support/kube-bench.ts';

const PROFILE = join(CHECKOUT, 'examples/kube-bench/cfg');
const FILES = { tlsCertFile: '/pki/a.crt', tlsPrivateKeyFile: '/pki/a.key', clientCAFile: '/pki/ca.crt' };
const checks = loadBenchmark(PROFILE, 'berth-cis-1.12', (path) => join('/nowhere', path));

/** Automated items are scored, manual ones not, as in cis-1.12. */
const ITEMS: Record<string, 'A' | 'M'> = {
  '4.1.1': 'A',
  '4.1.2': 'A',
  '4.1.3': 'M',
  '4.1.4': 'M',
  '4.1.5': 'A',
  '4.1.6': 'A',
  '4.1.7': 'M',
  '4.1.8': 'M',
  '4.1.9': 'A',
  '4.1.10': 'A',
  '4.2.1': 'A',
  '4.2.2': 'A',
  '4.2.3': 'A',
  '4.2.4': 'M',
  '4.2.5': 'M',
  '4.2.6': 'A',
  '4.2.7': 'M',
  '4.2.8': 'M',
  '4.2.9': 'M',
  '4.2.10': 'A',
  '4.2.11': 'M',
  '4.2.12': 'M',
  '4.2.13': 'M',
  '4.2.14': 'M',
  '4.3.1': 'A',
};

test('the profile has all 25 items, each with a way out', (t) => {
  t.is(checks.length, 25);
  t.deepEqual(Object.fromEntries(checks.map(({ id, scored }) => [id, scored ? 'A' : 'M'])), ITEMS);
  for (const { id, remediation, audit } of checks) t.true(remediation.length > 5 && audit.length > 0, id);
});

/** What a node with this configuration writes as its configuration in force. */
async function inForce(text: string): Promise<{ yaml: string; mode: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'berth-cis-'));
  try {
    const file = join(folder, 'kubelet.yaml');
    writeFileSync(file, `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${text}`);
    await writeConfigInForce(settleConfig(loadConfig(kubeletConfiguration, { file }), FILES), folder);
    const path = join(folder, 'config.yaml');
    const { statSync } = await import('node:fs');
    return { yaml: readFileSync(path, 'utf8'), mode: statSync(path).mode & 0o777 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const byConfig = checks.filter(({ audit_config }) => audit_config !== undefined);
const evaluate = (check: BenchCheck, yaml: string) =>
  evaluateCheck(check, async (script) => (script.startsWith('cat ') ? yaml : ''));

for (const check of [...byConfig, ...checks.filter(({ id }) => id === '4.2.11')])
  test(`CIS ${check.id} passes out of the box: ${check.text}`, async (t) => {
    t.is(await evaluate(check, (await inForce('')).yaml), undefined);
  });

for (const [id, text] of [
  ['4.2.1', 'authentication: { anonymous: { enabled: true } }'],
  ['4.2.2', 'authorization: { mode: AlwaysAllow }'],
  ['4.2.10', 'rotateCertificates: false'],
  ['4.2.13', 'podPidsLimit: -1'],
  ['4.2.14', 'seccompDefault: false'],
] as const)
  test(`CIS ${id} is not passed with ${text}`, async (t) => {
    const check = checks.find((one) => one.id === id)!;
    t.regex((await evaluate(check, (await inForce(text)).yaml)) ?? '', new RegExp(`^${id} `));
  });

test('CIS 4.1.9: the configuration in force is for its owner only, and hides what headers may tell', async (t) => {
  const { yaml, mode } = await inForce(
    'staticPodURL: https://x.example/\nstaticPodURLHeader: { Authorization: [s3cret] }',
  );
  t.is(mode, 0o600);
  t.false(yaml.includes('s3cret'));
});

test('CIS 4.2.12: a weak suite is refused; none named means all six', (t) => {
  t.throws(
    () =>
      loadConfig(kubeletConfiguration, {
        flags: [{ flag: '--tls-cipher-suites', field: 'tlsCipherSuites', value: ['TLS_RSA_WITH_AES_128_CBC_SHA'] }],
      }),
    { message: /accepted: a list of suites with forward secrecy/ },
  );
  const named = loadConfig(kubeletConfiguration, {
    flags: [{ flag: '--tls-cipher-suites', field: 'tlsCipherSuites', value: [] }],
  });
  t.is(settleConfig(named, FILES).tlsCipherSuites.length, 6);
});

test('CIS 4.3.1: the metrics of a proxy that says nothing of them are for this host', (t) => {
  t.is(resolveBindAddresses(loadConfig(kubeProxyConfiguration)).metrics, '127.0.0.1:10249');
});

test('the evaluator fails what kube-bench fails', async (t) => {
  const mode = checks.find(({ id }) => id === '4.1.9')!;
  t.is(await evaluateCheck(mode, async () => 'permissions=600\n'), undefined);
  t.is(await evaluateCheck(mode, async () => 'permissions=400\n'), undefined);
  t.truthy(await evaluateCheck(mode, async () => 'permissions=640\n'));
  t.truthy(await evaluateCheck(mode, async () => ''));
  const owner = checks.find(({ id }) => id === '4.1.10')!;
  t.is(await evaluateCheck(owner, async () => 'root:root\n'), undefined);
  t.truthy(await evaluateCheck(owner, async () => 'daemon:root\n'));
  const metrics = checks.find(({ id }) => id === '4.3.1')!;
  t.is(await evaluateCheck(metrics, async () => 'listens=0100007F:2809\n'), undefined);
  t.truthy(await evaluateCheck(metrics, async () => 'listens=0100007F:2809\nlistens=00000000:2809\n'));
  const name = checks.find(({ id }) => id === '4.2.7')!;
  t.is(await evaluateCheck(name, async () => 'node berth.mjs node --node-name n\n'), undefined);
  t.truthy(await evaluateCheck(name, async () => 'node berth.mjs node --hostname-override n\n'));
});
