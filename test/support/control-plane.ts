import type { NodeConnection } from '../../control-plane/apiserver/nodes/node-connection.ts';
import { podLogSubresource } from '../../control-plane/apiserver/nodes/pod-log.ts';
import { kubernetesSchema } from '../../control-plane/apiserver/schema-port.ts';
import { createApiServer } from '../../control-plane/apiserver/server.ts';
import { createServiceAllocator } from '../../control-plane/resources/allocation/service-allocator.ts';
import { createServedApi } from '../../control-plane/served-api.ts';
import { openSqliteStore } from '../../control-plane/store/sqlite-store.ts';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { createCertificateAuthority, issueCertificate } from '../../src/auth/authority.ts';
import { createSigningKeyPem, loadSigningKey } from '../../src/auth/signing-key.ts';
import { createStaticTokenAuthenticator, type StaticToken } from '../../src/auth/static-tokens.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { namespaces } from '../../src/kube/resources.ts';
import { createOpenApiDocuments } from '../../src/kube/schema/openapi/document.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';

export interface TestControlPlaneOptions {
  /** `:memory:` unless said. */
  storePath?: string;
  historyEvents?: number;
  tokens?: StaticToken[];
  clock?: Clock;
  /** Any free one unless said. */
  port?: number;
  /** Answers pods/log. */
  nodes?: NodeConnection;
  maxMutatingInFlight?: number;
  maxReadOnlyInFlight?: number;
}

/** Of the service account tokens that it issues. */
export const ISSUER = 'https://kubernetes.default.svc.cluster.local';

/** A whole API server on 127.0.0.1 with the real resources, rules and store; nothing else of the control plane runs. */
export async function startTestControlPlane(options: TestControlPlaneOptions = {}) {
  const clock = options.clock ?? systemClock;
  const log = silentLogger;
  const nowMs = Date.now();
  const ca = await createCertificateAuthority({ commonName: 'test-ca', days: 1, nowMs });
  const serving = await issueCertificate(ca, {
    commonName: 'kube-apiserver',
    ipAddresses: ['127.0.0.1'],
    dnsNames: ['localhost', 'kubernetes'],
    usages: ['server'],
    days: 1,
    nowMs,
  });
  const store = await openSqliteStore(
    { path: options.storePath ?? ':memory:', historyEvents: options.historyEvents },
    { clock, log },
  );
  const metrics = new Registry();
  const signingKey = loadSigningKey(createSigningKeyPem());
  const { definitions, authorizer, tokens, issuer } = createServedApi(
    { issuer: ISSUER, serverAddress: 'apiserver.test:6443' },
    {
      store,
      allocator: createServiceAllocator({ serviceCidrs: ['10.96.0.0/12'] }),
      ...(options.nodes && { nodes: options.nodes }),
      podSubresources: options.nodes ? { log: podLogSubresource(options.nodes) } : {},
      signingKey,
      clock,
      metrics,
    },
  );
  const server = createApiServer(
    {
      bindAddress: '127.0.0.1',
      port: options.port ?? 0,
      certPem: serving.certPem,
      keyPem: serving.keyPem,
      clientCaPem: ca.certPem,
      version: {
        major: '1',
        minor: '36',
        gitVersion: 'v1.36.0+berth',
        gitCommit: '',
        gitTreeState: 'clean',
        buildDate: '1970-01-01T00:00:00Z',
        goVersion: '',
        compiler: '',
        platform: 'linux/amd64',
      },
      maxMutatingInFlight: options.maxMutatingInFlight,
      maxReadOnlyInFlight: options.maxReadOnlyInFlight,
    },
    {
      store,
      definitions,
      authorizer,
      tokens: [createStaticTokenAuthenticator(options.tokens ?? []), ...tokens],
      issuer,
      schema: kubernetesSchema,
      openApi: createOpenApiDocuments(definitions),
      clock,
      log,
      metrics,
    },
  );
  const { port } = await server.start().catch(async (error) => {
    await store.close();
    throw error;
  });
  const url = `https://127.0.0.1:${port}`;
  const stopping = new AbortController();
  const running = server.run(stopping.signal);
  const clients: KubeClient[] = [];

  const credentials = (commonName: string, organizations: string[] = []): Promise<CertificatePair> =>
    issueCertificate(ca, { commonName, organizations, usages: ['client'], days: 1, nowMs });

  /** A client with its own certificate; closed with the server. */
  async function client(commonName: string, organizations: string[] = []): Promise<KubeClient> {
    const pair = await credentials(commonName, organizations);
    const made = createKubeClient({ server: url, caPem: ca.certPem, ...pair, userAgent: 'berth-test' });
    clients.push(made);
    return made;
  }

  return {
    url,
    port,
    ca,
    caPem: ca.certPem,
    signingKey,
    store,
    useCertificate: server.useCertificate,
    credentials,
    client,
    admin: () => client('admin', ['system:masters']),
    /** Namespaces are otherwise made by the bootstrap. */
    async createNamespaces(...names: string[]) {
      const admin = await client('admin', ['system:masters']);
      for (const name of names) await admin.create(namespaces, { metadata: { name }, spec: {} });
    },
    async stop() {
      await Promise.all(clients.map((one) => one.close()));
      stopping.abort();
      await running;
      await store.close();
    },
  };
}

export type TestControlPlane = Awaited<ReturnType<typeof startTestControlPlane>>;
