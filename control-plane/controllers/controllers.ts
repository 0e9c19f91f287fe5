import type { CertificateAuthority } from '../../src/auth/authority.ts';
import { createEventRecorder } from '../../src/kube/events.ts';
import type { Resource } from '../../src/kube/resources.ts';
import { createClusterInfoSigner } from './bootstrap-tokens/cluster-info-signer.ts';
import { createTokenCleaner } from './bootstrap-tokens/token-cleaner.ts';
import { createCertificateApprover } from './certificates/approver.ts';
import { createCertificateCleaner } from './certificates/cleaner.ts';
import { createCertificateSigner } from './certificates/signer.ts';
import type { Controller, ControllerDependencies } from './controller.ts';
import { createDeploymentController } from './deployment.ts';
import { createEndpointSliceController } from './endpointslice.ts';
import { createEventTtlController, EVENT_TTL_DEFAULTS, type EventTtlOptions } from './event-ttl.ts';
import { createGarbageCollector } from './garbage-collector.ts';
import { createNamespaceController } from './namespace.ts';
import { createNodeIpamController } from './node-ipam.ts';
import { createNodeLifecycleController, NODE_LIFECYCLE_DEFAULTS, type NodeLifecycleOptions } from './node-lifecycle.ts';
import { createPodGcController, POD_GC_DEFAULTS, type PodGcOptions } from './pod-gc.ts';
import { createReplicaSetController } from './replicaset.ts';
import { createRootCaController } from './root-ca.ts';
import { createServiceAccountController } from './serviceaccount.ts';
import { createTaintEvictionController } from './taint-eviction.ts';
import { createAttachDetachController } from './volumes/attach-detach.ts';
import { createEphemeralVolumeController } from './volumes/ephemeral-volume.ts';
import { deleteHostPath } from './volumes/host-path-deleter.ts';
import { createVolumeBinder } from './volumes/persistent-volume-binder.ts';
import { createClaimProtection, createVolumeProtection } from './volumes/protection.ts';

export interface ControllersOptions {
  /** Every kind that the API serves and stores: what the garbage collector and the namespace controller look after. */
  resources: readonly Resource[];
  /** The networks that nodes' podCIDRs are cut from: one, or one of each address family. */
  clusterCidrs: readonly string[];
  /** What clients of the API server must trust, PEM: published in every namespace. */
  caPem: string;
  /** Signs the certificates that nodes ask for. */
  authority: CertificateAuthority;
  nodeLifecycle?: Partial<NodeLifecycleOptions>;
  podGc?: Partial<PodGcOptions>;
  eventTtl?: Partial<EventTtlOptions>;
}

/** All controllers over one client and one set of informers; the caller runs the informers. */
export function createControllers(
  options: ControllersOptions,
  shared: Omit<ControllerDependencies, 'events'>,
): Controller & { controllers: readonly Controller[] } {
  const { client, log, clock } = shared;
  const reportingAs = (component: string): ControllerDependencies => ({
    ...shared,
    events: createEventRecorder({ client, component, log, clock }),
  });
  // Events have no owners worth following and come in numbers: the collector need not hold them in memory.
  const owned = options.resources.filter(({ plural }) => plural !== 'events');
  const controllers: Controller[] = [
    createDeploymentController(reportingAs('deployment-controller')),
    createReplicaSetController(reportingAs('replicaset-controller')),
    createEndpointSliceController(reportingAs('endpoint-slice-controller')),
    createGarbageCollector({ resources: owned }, reportingAs('garbage-collector-controller')),
    createNamespaceController({ resources: options.resources }, reportingAs('namespace-controller')),
    createServiceAccountController(reportingAs('serviceaccount-controller')),
    createCertificateApprover(reportingAs('certificate-controller')),
    createCertificateSigner({ authority: options.authority }, reportingAs('certificate-controller')),
    createCertificateCleaner(reportingAs('certificate-controller')),
    createClusterInfoSigner(reportingAs('bootstrap-signer')),
    createTokenCleaner(reportingAs('token-cleaner')),
    createRootCaController({ caPem: options.caPem }, reportingAs('root-ca-cert-publisher')),
    createNodeLifecycleController(
      { ...NODE_LIFECYCLE_DEFAULTS, ...options.nodeLifecycle },
      reportingAs('node-controller'),
    ),
    createTaintEvictionController(reportingAs('taint-eviction-controller')),
    createNodeIpamController(
      { networks: options.clusterCidrs.map((cidr) => ({ cidr, nodeMask: cidr.includes(':') ? 64 : 24 })) },
      reportingAs('cidrAllocator'),
    ),
    createPodGcController({ ...POD_GC_DEFAULTS, ...options.podGc }, reportingAs('pod-garbage-collector')),
    createVolumeBinder({ deleteHostPath }, reportingAs('persistentvolume-controller')),
    createClaimProtection(reportingAs('pvc-protection-controller')),
    createVolumeProtection(reportingAs('pv-protection-controller')),
    createEphemeralVolumeController(reportingAs('ephemeral-volume-controller')),
    createAttachDetachController(reportingAs('attachdetach-controller')),
    createEventTtlController({ ...EVENT_TTL_DEFAULTS, ...options.eventTtl }, shared),
  ];
  return {
    name: 'controllers',
    controllers,
    async run(signal) {
      await Promise.all(controllers.map((controller) => controller.run(signal)));
    },
  };
}
