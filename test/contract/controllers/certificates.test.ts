/** How a host becomes a node: bootstrap tokens, requests for certificates, who approves and signs them, what strangers may read. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CertificateRefusedError, requestNodeCertificate } from '../../../agent/certificates/certificate-request.ts';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import type { AgentPartOptions } from '../../../cli/roots/agent-part-options.ts';
import { clientCertificateFiles, createCertificatesPart } from '../../../cli/roots/certificates-part.ts';
import { settleConfig } from '../../../cli/roots/settled-config.ts';
import { createClusterInfo } from '../../../control-plane/resources/cluster-info.ts';
import { issueCertificate } from '../../../src/auth/authority.ts';
import {
  type BootstrapToken,
  formatBootstrapToken,
  makeBootstrapToken,
  verifyDetached,
} from '../../../src/auth/bootstrap-token.ts';
import { summarizeCertificate } from '../../../src/auth/certificate.ts';
import { createCertificateRequest, type RequestedIdentity } from '../../../src/auth/certificate-request.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { createKubeClient, type KubeClient } from '../../../src/kube/client.ts';
import { ApiError, isForbidden } from '../../../src/kube/errors.ts';
import { renderKubeconfig } from '../../../src/kube/kubeconfig.ts';
import {
  certificateSigningRequests,
  configMaps,
  namespaces,
  nodes,
  pods,
  secrets,
} from '../../../src/kube/resources.ts';
import { systemClock as clock } from '../../../src/runtime/clock.ts';
import { silentLogger as log } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { runTogether } from '../../../src/runtime/run-together.ts';
import { until } from '../../support/cluster-host.ts';
import { startWorkloadCluster } from '../../support/workload-cluster.ts';

const CLIENT = 'kubernetes.io/kube-apiserver-client-kubelet';
const SERVING = 'kubernetes.io/kubelet-serving';
const NODE: RequestedIdentity = { commonName: 'system:node:two', organizations: ['system:nodes'] };
const isUnauthorized = (error: unknown) => error instanceof ApiError && error.code === 401;
const signal = new AbortController().signal;

async function scene(t: Parameters<typeof startWorkloadCluster>[0]) {
  const cluster = await startWorkloadCluster(t);
  const { server, client: admin } = cluster;
  const clients: KubeClient[] = [];
  t.teardown(() => Promise.all(clients.map((one) => one.close())));
  for (const name of ['kube-system', 'kube-public'])
    await admin.create(namespaces, { metadata: { name }, spec: {} }).catch(() => {});
  const as = (credentials: { token?: string; certPem?: string; keyPem?: string }) => {
    const made = createKubeClient({ server: server.url, caPem: server.caPem, userAgent: 'test', ...credentials });
    clients.push(made);
    return made;
  };
  const addToken = async (token: BootstrapToken, fields: Record<string, string> = {}) => {
    const stringData = {
      'token-id': token.id,
      'token-secret': token.secret,
      'usage-bootstrap-authentication': 'true',
      'usage-bootstrap-signing': 'true',
      ...fields,
    };
    const metadata = { name: `bootstrap-token-${token.id}`, namespace: 'kube-system' };
    await admin.create(
      secrets,
      { metadata, type: 'bootstrap.kubernetes.io/token', stringData },
      {
        namespace: 'kube-system',
      },
    );
  };
  return { ...cluster, admin, as, addToken };
}

const token = makeBootstrapToken();
const bearer = { token: formatBootstrapToken(token) };

test.serial(
  'with a bootstrap token a host gets its client certificate, and as that node its serving certificate',
  async (t) => {
    const { admin, as, addToken, server } = await scene(t);
    await addToken(token);
    const host = as(bearer);
    const pair = await requestNodeCertificate({ signerName: CLIENT, identity: NODE }, { client: host, clock, signal });
    t.like(summarizeCertificate(pair.certPem), { commonName: 'system:node:two', organizations: ['system:nodes'] });
    const certificate = new X509Certificate(pair.certPem);
    t.true(certificate.verify(new X509Certificate(server.caPem).publicKey));
    const [csr] = (await admin.list(certificateSigningRequests)).items;
    t.is(csr?.spec.username, `system:bootstrap:${token.id}`);
    t.deepEqual(csr?.spec.groups, ['system:bootstrappers', 'system:authenticated']);

    const node = as(pair);
    await node.create(nodes, {
      metadata: { name: 'two' },
      spec: {},
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.2' }] },
    });
    const own = { ...NODE, dnsNames: ['two'], ipAddresses: ['192.0.2.2'] };
    const serving = await requestNodeCertificate(
      { signerName: SERVING, identity: own },
      { client: node, clock, signal },
    );
    t.deepEqual(summarizeCertificate(serving.certPem).ipAddresses, ['192.0.2.2']);
    t.deepEqual(new X509Certificate(serving.certPem).keyUsage, ['1.3.6.1.5.5.7.3.1']);
    // Its own renewal.
    await t.notThrowsAsync(
      requestNodeCertificate({ signerName: CLIENT, identity: NODE }, { client: node, clock, signal }),
    );

    // Names that are not its own wait for a person, who may say no.
    const foreign = requestNodeCertificate(
      { signerName: SERVING, identity: { ...own, dnsNames: ['two', 'api.example'] } },
      { client: node, clock, signal },
    );
    const waiting = await until('a request waits', async () => {
      const { items } = await admin.list(certificateSigningRequests);
      return items.find(({ status }) => !status?.conditions);
    });
    await admin.replace(
      certificateSigningRequests,
      {
        ...waiting,
        status: { conditions: [{ type: 'Denied', status: 'True', reason: 'NotYours', message: 'not your name' }] },
      },
      { subresource: 'approval' },
    );
    const refusal = await t.throwsAsync(foreign, { instanceOf: CertificateRefusedError });
    t.regex(refusal?.message ?? '', /was denied: not your name/);
  },
);

test.serial(
  'a node that slept past the end of its certificate asks with its bootstrap token, and is itself again',
  async (t) => {
    const { as, addToken, server, admin } = await scene(t);
    await addToken(token);
    const certDir = mkdtempSync('/tmp/berth-slept-');
    t.teardown(() => rmSync(certDir, { recursive: true }));
    const bootstrapKubeconfig = join(certDir, 'bootstrap.kubeconfig');
    const ended = await issueCertificate(server.ca, {
      commonName: NODE.commonName,
      organizations: NODE.organizations!,
      usages: ['client'],
      days: 1,
      nowMs: Date.now() - 2 * 86_400_000,
    });
    const files = clientCertificateFiles(certDir);
    await files.save(ended, Date.now());
    const node = as(ended);
    const stop = new AbortController();
    const registry = new Registry();
    const config = loadConfig(kubeletConfiguration);
    const parts = createCertificatesPart(
      {
        config: settleConfig(config, { tlsCertFile: '/none', tlsPrivateKeyFile: '/none', clientCAFile: '' }),
        client: node,
        nodeName: 'two',
        nodeIps: ['192.0.2.2'],
        certDir,
        bootstrapKubeconfig,
        clientCaPem: server.caPem,
        clientCertPem: ended.certPem,
        serving: ended,
        rotatingClient: ended,
        metrics: registry,
      } as unknown as AgentPartOptions,
      { server: { useCertificate() {}, useClientCa() {} } },
      { clock, log },
    );
    const running = runTogether(parts, stop.signal);
    t.teardown(() => running);
    t.teardown(() => stop.abort());
    await until('it is refused', async () => {
      const counter = await registry
        .getSingleMetric('kubelet_certificate_manager_client_expiration_renew_errors')
        ?.get();
      return (counter?.values[0]?.value ?? 0) > 0;
    });
    // Somebody lays the credentials down; nobody restarts anything.
    writeFileSync(
      bootstrapKubeconfig,
      renderKubeconfig({ server: server.url, caPem: server.caPem, token: formatBootstrapToken(token) }),
    );
    const fresh = await until('it has another', async () => {
      const pair = await files.current();
      return pair!.certPem === ended.certPem ? undefined : pair;
    });
    t.is((await admin.list(certificateSigningRequests)).items.at(-1)?.spec.username, `system:bootstrap:${token.id}`);
    await t.throwsAsync(node.get(nodes, { name: 'two' }), { message: /nauthorized/ });
    await t.throwsAsync(as(fresh).get(nodes, { name: 'two' }), { message: /not found/ }, 'it may look for itself');
  },
);

test.serial('what a bootstrap token does not open', async (t) => {
  const { as, addToken } = await scene(t);
  const [old, mute, other] = [makeBootstrapToken(), makeBootstrapToken(), makeBootstrapToken()];
  await addToken(token);
  await addToken(old, { expiration: '2020-01-01T00:00:00Z' });
  await addToken(mute, { 'usage-bootstrap-authentication': 'false' });
  await addToken(other, { 'auth-extra-groups': 'system:masters' });
  const host = as(bearer);
  for (const denied of [
    host.list(pods),
    host.list(secrets, { namespace: 'kube-system' }),
    host.create(nodes, { metadata: { name: 'two' }, spec: {} }),
  ])
    t.true(isForbidden(await t.throwsAsync(denied)));
  for (const bad of [old, mute, other, { id: token.id, secret: 'x'.repeat(16) }, makeBootstrapToken()])
    t.true(isUnauthorized(await t.throwsAsync(as({ token: formatBootstrapToken(bad) }).list(nodes))), bad.id);
});

test.serial(
  'a node asks for its own name only; nobody becomes an administrator by a request; what is decided stays',
  async (t) => {
    const { as, admin, server } = await scene(t);
    const one = as(await server.credentials('system:node:one', ['system:nodes']));
    const failure = await t.throwsAsync(
      requestNodeCertificate({ signerName: CLIENT, identity: NODE }, { client: one, clock, signal }),
    );
    t.regex(failure?.message ?? '', /can only create a node CSR with CN=system:node:one/);

    const ask = async (client: KubeClient, organizations: string[], signerName: string, usages: string[]) => {
      const { requestPem } = await createCertificateRequest({ commonName: 'eve', organizations });
      const spec = { request: Buffer.from(requestPem).toString('base64'), signerName, usages: usages as [] };
      return client.create(certificateSigningRequests, { metadata: { generateName: 'eve-' }, spec });
    };
    const masters = await t.throwsAsync(
      ask(admin, ['system:masters'], 'kubernetes.io/kube-apiserver-client', ['client auth']),
    );
    t.regex(masters?.message ?? '', /system:masters group is not allowed/);

    const csr = await ask(admin, ['team'], 'kubernetes.io/kube-apiserver-client', ['client auth']);
    const approve = (client: KubeClient) =>
      client.replace(
        certificateSigningRequests,
        { ...csr, status: { conditions: [{ type: 'Approved', status: 'True', reason: 'Me' }] } },
        { subresource: 'approval' },
      );
    t.true(isForbidden(await t.throwsAsync(approve(one))));
    await approve(admin);
    const issued = await until('it is issued', async () => {
      const now = await admin.get(certificateSigningRequests, { name: csr.metadata.name! });
      return now.status?.certificate ? now : undefined;
    });
    t.like(summarizeCertificate(Buffer.from(issued.status?.certificate ?? '', 'base64').toString()), {
      commonName: 'eve',
      organizations: ['team'],
    });
    const undo = admin.replace(
      certificateSigningRequests,
      { ...issued, status: { conditions: [] } },
      { subresource: 'approval' },
    );
    t.regex((await t.throwsAsync(undo))?.message ?? '', /may not remove a condition of type "Approved"/);

    const wrong = await ask(admin, ['team'], 'kubernetes.io/kubelet-serving', ['client auth']);
    await admin.replace(
      certificateSigningRequests,
      { ...wrong, status: { conditions: [{ type: 'Approved', status: 'True', reason: 'Careless' }] } },
      { subresource: 'approval' },
    );
    await until('it has failed', async () => {
      const { status } = await admin.get(certificateSigningRequests, { name: wrong.metadata.name! });
      t.is(status?.certificate, undefined);
      return status?.conditions?.some(({ type }) => type === 'Failed');
    });
  },
);

test.serial('cluster-info: everybody reads it, nobody else writes it, a token proves it', async (t) => {
  const { as, admin, addToken, server } = await scene(t);
  await addToken(token);
  const info = createClusterInfo(
    { server: server.url, caPem: server.caPem, nodeConfig: { kubelet: 'kind: KubeletConfiguration\n', facts: {} } },
    { client: admin, clock, log },
  );
  await info.ensure();
  const where = { namespace: 'kube-public', name: 'cluster-info' };
  const stranger = as({});
  const map = await until('it is signed', async () => {
    const found = await stranger.get(configMaps, where);
    return found.data?.[`jws-kubeconfig-${token.id}`] ? found : undefined;
  });
  const { kubeconfig = '', [`jws-kubeconfig-${token.id}`]: jws = '' } = map.data ?? {};
  t.true(verifyDetached(jws, kubeconfig, token));
  t.false(verifyDetached(jws, kubeconfig.replace('127.0.0.1', '127.0.0.2'), token));
  t.true(kubeconfig.includes(server.url));
  t.true(isForbidden(await t.throwsAsync(stranger.replace(configMaps, { ...map, data: {} }))));
  t.true(isForbidden(await t.throwsAsync(stranger.delete(configMaps, where))));
  t.true(isUnauthorized(await t.throwsAsync(stranger.list(configMaps, { namespace: 'kube-public' }))));
  t.is(
    (await as(bearer).get(configMaps, { namespace: 'kube-system', name: 'kubelet-config' })).data?.['kubelet'],
    'kind: KubeletConfiguration\n',
  );
  await admin.delete(secrets, { namespace: 'kube-system', name: `bootstrap-token-${token.id}` });
  await until('the signature goes with the token', async () => {
    const { data } = await stranger.get(configMaps, where);
    return Object.keys(data ?? {}).length === 1;
  });
});
