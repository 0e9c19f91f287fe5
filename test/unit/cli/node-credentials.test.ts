/** Which certificates a node uses: those of its kubeconfig, of its own directory, of its configuration, or ones that it makes. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { ensureClusterPki } from '../../../cli/pki/cluster-pki.ts';
import { clientCertificateFiles } from '../../../cli/roots/certificates-part.ts';
import { adoptNodeCertificate } from '../../../cli/roots/node-credentials.ts';
import { ownTrust } from '../../../cli/roots/own-pki.ts';
import { findServingCertificate } from '../../../cli/roots/serving-certificate.ts';
import { type CertificatePair, createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import { summarizeCertificate } from '../../../src/auth/certificate.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { renderKubeconfig } from '../../../src/kube/kubeconfig.ts';
import { createFakeClock } from '../../fakes/clock.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 0, 1);
const authority = await createCertificateAuthority({ commonName: 'ca', days: 3650, nowMs: START_MS });
const issue = (options: { name?: string; nowMs?: number; usages?: ('client' | 'server')[] } = {}) =>
  issueCertificate(authority, {
    commonName: options.name ?? 'system:node:n',
    organizations: ['system:nodes'],
    ipAddresses: ['192.0.2.1'],
    usages: options.usages ?? ['client'],
    days: 100,
    nowMs: options.nowMs ?? START_MS,
  });

function scene(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-credentials-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const certDir = join(folder, 'pki');
  const kubeconfig = join(folder, 'kubeconfig');
  const clock = createFakeClock(START_MS);
  const files = clientCertificateFiles(certDir);
  return {
    folder,
    certDir,
    clock,
    files,
    write: (credentials: Partial<CertificatePair> & { certificateFile?: string }) =>
      writeFileSync(
        kubeconfig,
        renderKubeconfig({ server: 'https://192.0.2.9', caPem: authority.certPem, ...credentials }),
      ),
    adopt: () => adoptNodeCertificate({ kubeconfig, certDir, nodeName: 'n' }, { clock }),
  };
}

test("a node's certificate in its kubeconfig is where rotation begins", async (t) => {
  const { write, adopt, files, clock } = scene(t);
  const first = await issue();
  write(first);
  t.is(await adopt(), files.currentPath);
  t.deepEqual(await files.current(), first);
  t.is(statSync(files.currentPath).mode & 0o777, 0o600);

  // It was renewed; the kubeconfig still has the old one.
  clock.step(80 * DAY_MS);
  const second = await issue({ nowMs: clock.nowMs() });
  await files.save(second, clock.nowMs());
  await adopt();
  t.deepEqual(await files.current(), second, 'after a restart the renewed one is used');

  // Somebody made a new kubeconfig for the node.
  clock.step(10 * DAY_MS);
  const third = await issue({ nowMs: clock.nowMs() });
  write(third);
  await adopt();
  t.deepEqual(await files.current(), third);
});

test('what was kept is not used when it has ended or is torn', async (t) => {
  const { write, adopt, files, clock } = scene(t);
  await files.save(await issue(), START_MS);
  clock.step(200 * DAY_MS);
  const fresh = await issue({ nowMs: clock.nowMs() });
  write(fresh);
  await adopt();
  t.deepEqual(await files.current(), fresh);
  writeFileSync(files.currentPath, 'torn');
  await adopt();
  t.deepEqual(await files.current(), fresh);
});

test('the certificate of somebody else, of a file, or none is left alone', async (t) => {
  const { write, adopt, files, folder } = scene(t);
  write(await issue({ name: 'kubernetes-admin' }));
  t.is(await adopt(), undefined);
  const { certPem, keyPem } = await issue();
  const certificateFile = join(folder, 'somebodys.pem');
  writeFileSync(certificateFile, certPem + keyPem);
  write({ certificateFile });
  t.is(await adopt(), undefined);
  write({});
  t.is(await adopt(), undefined);
  t.is(await files.current(), undefined);
});

const sources = (certDir: string, change: Partial<Parameters<typeof findServingCertificate>[0]> = {}) => ({
  tlsCertFile: '',
  tlsPrivateKeyFile: '',
  nodeIps: ['192.0.2.1'],
  certDir,
  nowMs: START_MS,
  ...change,
});

test('a self-signed serving certificate is made once, again near its end, and again when it lacks an address', async (t) => {
  const { certDir } = scene(t);
  const first = await findServingCertificate(sources(certDir));
  t.is(first.certFile, join(certDir, 'kubelet.crt'));
  t.is(readFileSync(first.certFile, 'utf8'), first.certPem);
  t.is(statSync(first.keyFile).mode & 0o777, 0o600);
  t.is((await findServingCertificate(sources(certDir))).certPem, first.certPem);
  const moved = await findServingCertificate(sources(certDir, { nodeIps: ['192.0.2.1', '2001:db8::7'] }));
  t.not(moved.certPem, first.certPem);
  t.is(summarizeCertificate(moved.certPem).ipAddresses.length, 2);
  const later = await findServingCertificate(sources(certDir, { nowMs: START_MS + 300 * DAY_MS }));
  t.not(later.certPem, moved.certPem);
  t.true(new X509Certificate(later.certPem).validToDate.getTime() > START_MS + 660 * DAY_MS);
});

test('the certificate of the kubeconfig serves, if it may and lasts; then another one', async (t) => {
  const { certDir } = scene(t);
  const client = await issue({ usages: ['client', 'server'] });
  const found = await findServingCertificate(sources(certDir, { client }));
  t.is(found.certPem, client.certPem);
  t.is(readFileSync(found.certFile, 'utf8'), client.certPem);
  const after = await findServingCertificate(sources(certDir, { client, nowMs: START_MS + 90 * DAY_MS }));
  t.not(after.certPem, client.certPem);
  t.not((await findServingCertificate(sources(certDir, { client: await issue() }))).certPem, client.certPem);
});

test('CIS 4.2.9: tlsCertFile and tlsPrivateKeyFile are used as they are, both or none', async (t) => {
  const { certDir, folder } = scene(t);
  const pair = await issue({ usages: ['server'] });
  const files = { tlsCertFile: join(folder, 'a.crt'), tlsPrivateKeyFile: join(folder, 'a.key') };
  writeFileSync(files.tlsCertFile, pair.certPem);
  await t.throwsAsync(findServingCertificate(sources(certDir, files)), {
    message: /tlsPrivateKeyFile .* cannot be read/,
  });
  writeFileSync(files.tlsPrivateKeyFile, pair.keyPem);
  t.deepEqual(await findServingCertificate(sources(certDir, files)), {
    ...pair,
    certFile: files.tlsCertFile,
    keyFile: files.tlsPrivateKeyFile,
  });
  await t.throwsAsync(findServingCertificate(sources(certDir, { tlsCertFile: files.tlsCertFile })), {
    message: /belong together/,
  });
});

test('the all-in-one program: its own certificate and authority, or those of the KubeletConfiguration', async (t) => {
  const { folder } = scene(t);
  const pki = await ensureClusterPki({
    folder: join(folder, 'cluster'),
    nodeName: 'n',
    nodeIps: ['192.0.2.1'],
    apiServerIps: [],
    apiServerNames: ['localhost'],
    nowMs: Date.now(),
  });
  const own = ownTrust(loadConfig(kubeletConfiguration), pki);
  t.is(own.serving, pki.nodeServing);
  t.is(own.clientCaPem, pki.ca.certPem);
  t.like(own.config, { tlsCertFile: pki.nodeServing.certFile, authentication: { x509: { clientCAFile: pki.caFile } } });
  const pair = await issue({ usages: ['server'] });
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const value = { tlsCertFile: file('a.crt', pair.certPem), tlsPrivateKeyFile: file('a.key', pair.keyPem) };
  const flags = Object.entries(value).map(([field, path]) => ({ flag: `--${field}`, field, value: path }));
  const said = ownTrust(loadConfig(kubeletConfiguration, { flags }), pki);
  t.like(said.serving, pair);
  t.like(said.config, value);
  const lost = { flag: '--client-ca-file', field: 'authentication.x509.clientCAFile', value: join(folder, 'none') };
  t.throws(() => ownTrust(loadConfig(kubeletConfiguration, { flags: [lost] }), pki), {
    message: /authentication\.x509\.clientCAFile .* cannot be read/,
  });
});
