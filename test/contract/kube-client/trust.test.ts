import test from 'ava';
import { createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import { createKubeClient } from '../../../src/kube/client.ts';
import { ApiError } from '../../../src/kube/errors.ts';
import { nodes } from '../../../src/kube/resources.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import { serializeError } from '../../../src/runtime/log.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';

const nowMs = Date.now();

/** A client's view of the same server: with its own authority and certificate, or with another cluster's. */
async function world() {
  const server = await startTestControlPlane();
  const otherCa = await createCertificateAuthority({ commonName: 'other', days: 1, nowMs });
  const identity = { commonName: 'system:node:two', organizations: ['system:nodes'], usages: ['client' as const] };
  const otherPair = await issueCertificate(otherCa, { ...identity, days: 1, nowMs });
  return { server, otherCa, otherPair };
}

test('the kubeconfig of another cluster: who is not whom, in words, without a stack in the log', async (t) => {
  const { server, otherCa } = await world();
  t.teardown(() => server.stop());
  const client = createKubeClient({ server: server.url, caPem: otherCa.certPem, userAgent: 'test' });
  t.teardown(() => client.close());
  const error = await t.throwsAsync(client.list(nodes), { instanceOf: ExplainedError });
  t.true(
    error.message.startsWith(
      `${server.url} is not the API server of these credentials: its certificate is not signed by their certificate authority (`,
    ),
    error.message,
  );
  t.deepEqual(serializeError(error), { message: error.message });
  const watch = client.watch(nodes, { resourceVersion: '0', signal: AbortSignal.timeout(5000) });
  await t.throwsAsync(async () => (await watch[Symbol.asyncIterator]().next()).done, { instanceOf: ExplainedError });
});

test('a server that is reached by a name which its certificate does not have', async (t) => {
  const { server } = await world();
  t.teardown(() => server.stop());
  const client = createKubeClient({
    server: server.url,
    caPem: server.caPem,
    tlsServerName: 'elsewhere.example',
    userAgent: 'test',
  });
  t.teardown(() => client.close());
  const error = await t.throwsAsync(client.list(nodes), { instanceOf: ExplainedError });
  t.regex(error.message, /^the certificate of https:\/\/\S+ is for other names \(.*elsewhere\.example.*\); reach/);
});

test('a certificate of another cluster', async (t) => {
  const { server, otherPair } = await world();
  t.teardown(() => server.stop());
  const client = createKubeClient({ server: server.url, caPem: server.caPem, ...otherPair, userAgent: 'test' });
  t.teardown(() => client.close());
  const error = await t.throwsAsync(client.list(nodes), { instanceOf: ApiError });
  t.is(error.code, 401);
  t.is(
    error.message,
    `Unauthorized: ${server.url} does not know these credentials (of another cluster, revoked, or past their time)`,
  );
  t.deepEqual(serializeError(error), {
    type: 'ApiError',
    code: 401,
    reason: 'Unauthorized',
    message: error.message,
  });
});
