import { createNodeConnection, type OwnNode } from '../../control-plane/apiserver/nodes/node-connection.ts';
import { podLogSubresource } from '../../control-plane/apiserver/nodes/pod-log.ts';
import { podCommandSubresource, podPortForwardSubresource } from '../../control-plane/apiserver/nodes/pod-streams.ts';
import { kubernetesSchema } from '../../control-plane/apiserver/schema-port.ts';
import { createApiServer } from '../../control-plane/apiserver/server.ts';
import { createControllers } from '../../control-plane/controllers/controllers.ts';
import type { NodeLifecycleOptions } from '../../control-plane/controllers/node-lifecycle.ts';
import { createServiceAllocator } from '../../control-plane/resources/allocation/service-allocator.ts';
import { createBootstrap } from '../../control-plane/resources/bootstrap.ts';
import { type ClusterInfoOptions, createClusterInfo } from '../../control-plane/resources/cluster-info.ts';
import { createDnsService, type DnsServiceOptions } from '../../control-plane/resources/dns-service.ts';
import type { DefaultTolerationSeconds } from '../../control-plane/resources/pods/admission.ts';
import { createScheduler } from '../../control-plane/scheduler/scheduler.ts';
import { createServedApi } from '../../control-plane/served-api.ts';
import { openSqliteStore } from '../../control-plane/store/sqlite-store.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { createEventRecorder } from '../../src/kube/events.ts';
import { createInformerSet } from '../../src/kube/informer.ts';
import { createOpenApiDocuments } from '../../src/kube/schema/openapi/document.ts';
import type { Service } from '../../src/kube/types.ts';
import { createHeartbeats, type Heartbeats } from '../../src/runtime/heartbeat.ts';
import { createMetrics } from '../../src/runtime/metrics.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import type { ClusterPki, LeafPair } from '../pki/cluster-pki.ts';
import { buildInfo } from '../version.ts';
import type { ProgramContext } from './context.ts';

export interface ControlPlaneOptions {
  /** File of the SQLite store. */
  storePath: string;
  bindAddress: string;
  port: number;
  /** Where pods and other hosts reach the API server. */
  advertiseAddress: string;
  /** One, or one of each address family, the cluster's default first. */
  podCidrs: readonly string[];
  serviceCidrs: readonly string[];
  /** Part of the issuer's name in service account tokens. */
  clusterDomain: string;
  /** The cluster's DNS: its Service's address, and where the server listens. */
  dns: DnsServiceOptions;
  /** When a silent node is given up, and how long pods then stay on it. */
  nodeLifecycle: Partial<NodeLifecycleOptions>;
  tolerationSeconds: DefaultTolerationSeconds;
  /** Audiences of the tokens that image credential providers are given. */
  nodeTokenAudiences: readonly string[];
  /** For hosts that join: their KubeletConfiguration, and what they must know beside it. */
  nodeConfig: ClusterInfoOptions['nodeConfig'];
  pki: ClusterPki;
  /** The node of this process. */
  ownNode: OwnNode;
}

export interface ControlPlane extends Runnable {
  /** Resolves when the API server answers and the objects that the cluster itself owns are there. */
  start(): Promise<void>;
  /** Changes over to renewed certificates; clients find theirs in the files. */
  useCertificates(pki: Pick<ClusterPki, 'apiServer' | 'kubeletClient'>): void;
}

/** Store, API server, controllers and scheduler. Controllers and scheduler are ordinary clients with identities of their own. */
export async function createControlPlanePart(
  options: ControlPlaneOptions,
  context: ProgramContext,
): Promise<ControlPlane> {
  const { log, clock } = context;
  const { pki } = options;
  const metrics = createMetrics(buildInfo());
  const heartbeats = createHeartbeats(clock);
  const store = await openSqliteStore({ path: options.storePath }, { clock, log });
  const nodeConnection = createNodeConnection({
    ...pki.kubeletClient,
    caPem: pki.ca.certPem,
    ownNode: options.ownNode,
  });
  const allocator = createServiceAllocator({ serviceCidrs: options.serviceCidrs });
  const serverAddress = `${options.advertiseAddress}:${options.port}`;
  const { definitions, objects, authorizer, tokens, issuer } = createServedApi(
    {
      issuer: `https://kubernetes.default.svc.${options.clusterDomain}`,
      serverAddress,
      tolerationSeconds: options.tolerationSeconds,
      nodeTokenAudiences: options.nodeTokenAudiences,
    },
    {
      store,
      allocator,
      podSubresources: {
        log: podLogSubresource(nodeConnection),
        exec: podCommandSubresource('exec', nodeConnection),
        attach: podCommandSubresource('attach', nodeConnection),
        portforward: podPortForwardSubresource(nodeConnection),
      },
      nodes: nodeConnection,
      signingKey: pki.serviceAccountKey,
      clock,
      metrics,
    },
  );
  allocator.restore(await objects.list<Service>({ group: '', plural: 'services' }));
  const server = createApiServer(
    {
      bindAddress: options.bindAddress,
      port: options.port,
      advertisedAddress: serverAddress,
      ...pki.apiServer,
      clientCaPem: pki.ca.certPem,
      version: buildInfo(),
    },
    {
      store,
      definitions,
      authorizer,
      tokens,
      issuer,
      schema: kubernetesSchema,
      openApi: createOpenApiDocuments(definitions),
      clock,
      log,
      metrics,
      healthChecks: [{ name: 'loops', check: () => describeOverdue(heartbeats) }],
    },
  );
  const clientAs = (pair: LeafPair, userAgent: string): KubeClient =>
    createKubeClient(
      {
        server: `https://127.0.0.1:${options.port}`,
        caPem: pki.ca.certPem,
        ...pair,
        userAgent,
      },
      { clock, metrics },
    );
  const admin = clientAs(pki.admin, 'berth-bootstrap');
  const bootstrap = createBootstrap(
    {
      advertiseAddress: options.advertiseAddress,
      securePort: options.port,
      serviceAddress: allocator.firstAddress,
      serviceCidrs: options.serviceCidrs,
    },
    { client: admin, clock, log },
  );
  const dnsService = createDnsService(options.dns, { client: admin, clock, log });
  const clusterInfo = createClusterInfo(
    { server: `https://${serverAddress}`, caPem: pki.ca.certPem, nodeConfig: options.nodeConfig },
    { client: admin, clock, log },
  );
  const controllerClient = clientAs(pki.controllerManager, 'kube-controller-manager');
  const controllerInformers = createInformerSet(controllerClient, { log, clock });
  // Kinds that only take requests (bindings) have nothing to collect.
  const resources = definitions
    .filter(({ verbs }) => verbs.includes('list') && verbs.includes('watch'))
    .map(({ group, version, plural, kind, namespaced }) => ({ group, version, plural, kind, namespaced }));
  const controllers = createControllers(
    {
      resources,
      clusterCidrs: options.podCidrs,
      caPem: pki.ca.certPem,
      authority: pki.ca,
      nodeLifecycle: options.nodeLifecycle,
    },
    { client: controllerClient, informers: controllerInformers, log, clock, metrics, heartbeats },
  );
  const schedulerClient = clientAs(pki.scheduler, 'kube-scheduler');
  const schedulerInformers = createInformerSet(schedulerClient, { log, clock });
  const scheduler = createScheduler(
    {},
    {
      client: schedulerClient,
      informers: schedulerInformers,
      log,
      clock,
      metrics,
      heartbeats,
      events: createEventRecorder({ client: schedulerClient, component: 'default-scheduler', log, clock }),
    },
  );
  return {
    useCertificates(now) {
      server.useCertificate(now.apiServer);
      nodeConnection.useCertificate(now.kubeletClient);
    },
    async start() {
      await server.start();
      await bootstrap.ensure();
      // Taken addresses are told by `run`, again and again; the rest of the cluster works without names.
      await dnsService.ensure().catch(() => {});
    },
    async run(signal) {
      // Clients first, then the server, then the store: nobody's last write is cut off.
      const serverStop = new AbortController();
      const serving = server.run(serverStop.signal);
      try {
        await runTogether(
          {
            'API server': { run: (all) => Promise.race([serving, aborted(all)]) },
            bootstrap,
            'DNS service': dnsService,
            'cluster info': clusterInfo,
            'controller informers': controllerInformers,
            controllers,
            'scheduler informers': schedulerInformers,
            scheduler,
          },
          signal,
        );
      } finally {
        serverStop.abort();
        await serving.catch(() => {});
        await Promise.all([admin.close(), controllerClient.close(), schedulerClient.close(), nodeConnection.close()]);
        await store.close();
      }
    },
  };
}

/** What a health check says of loops that have stopped turning; undefined when all turn. */
function describeOverdue(heartbeats: Heartbeats): string | undefined {
  const overdue = heartbeats.overdue();
  if (overdue.length === 0) return undefined;
  return overdue.map(({ name, silentMs }) => `${name} silent for ${Math.round(silentMs / 1000)} s`).join(', ');
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
