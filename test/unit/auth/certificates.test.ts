import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { connect } from 'node:tls';
import test from 'ava';
import { createCertificateAuthority, issueCertificate, loadCertificateAuthority } from '../../../src/auth/authority.ts';
import { certificateUser, needsRenewal, summarizeCertificate } from '../../../src/auth/certificate.ts';
import { readCertificatePair, writeCertificatePair } from '../../../src/auth/pem-files.ts';

const DAY_MS = 86_400_000;
const nowMs = Date.now();
const newAuthority = (commonName = 'berth-ca') => createCertificateAuthority({ commonName, days: 3650, nowMs });

test('an authority issues certificates that carry user, groups and addresses', async (t) => {
  const authority = await newAuthority();
  const { certPem, keyPem } = await issueCertificate(authority, {
    commonName: 'system:node:a,b',
    organizations: ['system:nodes', 'with=equals'],
    dnsNames: ['kubernetes', 'kubernetes.default.svc'],
    ipAddresses: ['127.0.0.1', '10.96.0.1'],
    usages: ['server', 'client'],
    days: 365,
    nowMs,
  });
  t.regex(keyPem, /^-----BEGIN PRIVATE KEY-----/);
  const summary = summarizeCertificate(certPem);
  t.like(summary, {
    commonName: 'system:node:a,b',
    dnsNames: ['kubernetes', 'kubernetes.default.svc'],
    ipAddresses: ['127.0.0.1', '10.96.0.1'],
  });
  t.true(summary.notBeforeMs < nowMs);
  t.is(Math.round((summary.notAfterMs - nowMs) / DAY_MS), 365);
  t.deepEqual(certificateUser(certPem), { username: 'system:node:a,b', groups: ['system:nodes', 'with=equals'] });
  t.true(new X509Certificate(certPem).verify(new X509Certificate(authority.certPem).publicKey));
});

test('OpenSSL accepts the chain in a handshake with client certificates', async (t) => {
  const authority = await newAuthority();
  const issue = (commonName: string, usage: 'client' | 'server') =>
    issueCertificate(authority, { commonName, ipAddresses: ['127.0.0.1'], usages: [usage], days: 1, nowMs });
  const [server, client] = await Promise.all([issue('server', 'server'), issue('client', 'client')]);
  const listener = createServer({
    cert: server.certPem,
    key: server.keyPem,
    ca: authority.certPem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<TLSSocket>((resolve) => listener.once('secureConnection', resolve));
  const socket = connect({
    port: (listener.address() as AddressInfo).port,
    host: '127.0.0.1',
    ca: authority.certPem,
    cert: client.certPem,
    key: client.keyPem,
  });
  t.teardown(() => {
    socket.destroy();
    listener.close();
  });
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  t.true((await accepted).authorized);
  t.is(certificateUser((await accepted).getPeerCertificate().raw)?.username, 'client');
});

test('an authority is read back, and a foreign key or a plain certificate is refused', async (t) => {
  const [authority, other] = await Promise.all([newAuthority(), newAuthority('other-ca')]);
  const again = await loadCertificateAuthority({ certPem: authority.certPem, keyPem: authority.keyPem });
  const leaf = await issueCertificate(again, { commonName: 'x', usages: ['client'], days: 1, nowMs });
  t.false(needsRenewal(leaf.certPem, { nowMs, caPem: authority.certPem }));
  await t.throwsAsync(loadCertificateAuthority({ certPem: authority.certPem, keyPem: other.keyPem }), {
    message: /does not belong to the certificate of CN=berth-ca/,
  });
  await t.throwsAsync(loadCertificateAuthority(leaf), { message: /not one of a certificate authority/ });
  await t.throwsAsync(loadCertificateAuthority({ certPem: 'nonsense', keyPem: authority.keyPem }), {
    message: /CA certificate is not readable PEM/,
  });
});

test('renewal is due at 80 % of the life, after expiry and under another authority', async (t) => {
  const [authority, other] = await Promise.all([newAuthority(), newAuthority('other-ca')]);
  const { certPem } = await issueCertificate(authority, { commonName: 'x', usages: ['client'], days: 10, nowMs });
  t.false(needsRenewal(certPem, { nowMs: nowMs + 7.9 * DAY_MS }));
  t.true(needsRenewal(certPem, { nowMs: nowMs + 8.1 * DAY_MS }));
  t.true(needsRenewal(certPem, { nowMs: nowMs + 11 * DAY_MS, fraction: 2 }) === false);
  t.true(needsRenewal(certPem, { nowMs: nowMs - DAY_MS }));
  t.true(needsRenewal(certPem, { nowMs, caPem: other.certPem }));
});

test('files: key 0600, certificate 0644, nothing half-written stays', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'berth-pem-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const paths = { certPath: join(directory, 'ca.crt'), keyPath: join(directory, 'ca.key') };
  t.is(await readCertificatePair(paths), undefined);
  const authority = await newAuthority();
  await writeCertificatePair(paths, authority);
  t.is((await stat(paths.keyPath)).mode & 0o777, 0o600);
  t.is((await stat(paths.certPath)).mode & 0o777, 0o644);
  t.deepEqual(await readCertificatePair(paths), { certPem: authority.certPem, keyPem: authority.keyPem });
  await t.throwsAsync(writeCertificatePair({ ...paths, keyPath: join(directory, 'absent', 'ca.key') }, authority));
});
