import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { stringify } from 'yaml';
import { KubeconfigError, loadKubeconfig, renderKubeconfig } from '../../../src/kube/kubeconfig.ts';

const PEM = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n';
const base64 = (text: string) => Buffer.from(text).toString('base64');

function folder(t: ExecutionContext) {
  const path = mkdtempSync(join(tmpdir(), 'berth-kubeconfig-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

function config(parts: { cluster?: object; user?: object; root?: object } = {}) {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'main',
    contexts: [{ name: 'main', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: 'https://192.0.2.1:6443', ...parts.cluster } }],
    users: [{ name: 'u', user: { token: 'tok', ...parts.user } }],
    ...parts.root,
  };
}

function write(t: ExecutionContext, content: unknown) {
  const path = join(folder(t), 'config');
  writeFileSync(path, typeof content === 'string' ? content : stringify(content));
  return path;
}

test('what renderKubeconfig writes, loadKubeconfig reads', (t) => {
  const text = renderKubeconfig({ server: 'https://127.0.0.1:6443', caPem: PEM, certPem: PEM, keyPem: PEM });
  t.deepEqual(loadKubeconfig(write(t, text), { userAgent: 'me' }), {
    server: 'https://127.0.0.1:6443',
    caPem: PEM,
    certPem: PEM,
    keyPem: PEM,
    userAgent: 'me',
  });
});

test('file references are relative to the file; tokenFile beats token; another context can be named', (t) => {
  const path = folder(t);
  writeFileSync(join(path, 'ca.pem'), PEM);
  writeFileSync(join(path, 'token'), 'from-file\n');
  const root = {
    contexts: [
      { name: 'main', context: { cluster: 'c', user: 'nobody' } },
      { name: 'other', context: { cluster: 'c', user: 'u' } },
    ],
  };
  writeFileSync(
    join(path, 'config'),
    stringify(config({ cluster: { 'certificate-authority': 'ca.pem' }, user: { tokenFile: 'token' }, root })),
  );
  t.like(loadKubeconfig(join(path, 'config'), { context: 'other' }), { caPem: PEM, token: 'from-file' });
});

for (const [what, content, expected] of [
  ['no YAML', '{a: [', /not a kubeconfig/],
  ['another kind', { kind: 'Pod' }, /kind is "Pod", expected "Config"/],
  ['no current context', config({ root: { 'current-context': '' } }), /current-context is empty/],
  ['an unknown context', config({ root: { 'current-context': 'x' } }), /contexts has no entry named "x"; it has: main/],
  ['an unknown cluster', config({ root: { clusters: [] } }), /clusters has no entry named "c"; it has: none/],
  ['a server that is no URL', config({ cluster: { server: 'host' } }), /clusters\[c\]\.cluster\.server is "host"/],
  ['insecure TLS', config({ cluster: { 'insecure-skip-tls-verify': true } }), /insecure-skip-tls-verify: the server's/],
  [
    'an exec plugin',
    config({ user: { exec: { command: 'aws' } } }),
    /users\[u\]\.user\.exec \(aws\): credential plugins/,
  ],
  ['basic auth', config({ user: { username: 'x' } }), /users\[u\]\.user\.username: basic/],
  ['data that is no PEM', config({ cluster: { 'certificate-authority-data': base64('x') } }), /-data holds no PEM/],
  ['a certificate without key', config({ user: { 'client-certificate-data': base64(PEM) } }), /without client-key/],
  ['a missing file', config({ user: { 'client-certificate': '/nonexistent' } }), /client-certificate: can't read/],
  ['a token of the wrong type', config({ user: { token: 5 } }), /users\[u\]\.user\.token must be a string, got 5/],
] as const)
  test(`${what} is refused, naming file and field`, (t) => {
    const path = write(t, content);
    const error = t.throws(() => loadKubeconfig(path), { instanceOf: KubeconfigError, message: expected });
    t.true(error?.message.startsWith(path));
  });

test('an unreadable file is refused', (t) => {
  t.throws(() => loadKubeconfig('/nonexistent/config'), {
    message: /^\/nonexistent\/config: can't read the kubeconfig/,
  });
});
