import type { KubeObject, Node, Pod, Service, ServiceAccount } from '../../src/kube/types.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { ResourceDefinition, SubresourceDefinition } from '../apiserver/definition.ts';
import { restrictNodes } from '../authorization/node-restriction.ts';
import { restrictNodeTokens } from '../authorization/node-token-restriction.ts';
import type { ServiceAllocator } from './allocation/service-allocator.ts';
import { bindings } from './bindings.ts';
import { type CertificateRequestPolicy, defineCertificateSigningRequests } from './certificatesigningrequests.ts';
import { configMaps } from './configmaps.ts';
import { deployments } from './deployments.ts';
import { endpoints } from './endpoints.ts';
import { endpointSlices } from './endpointslices.ts';
import { events } from './events.ts';
import { leases } from './leases.ts';
import { namespaces } from './namespaces.ts';
import { nodes } from './nodes.ts';
import type { DefaultTolerationSeconds } from './pods/admission.ts';
import { definePods } from './pods.ts';
import { replicaSets } from './replicasets.ts';
import { secrets } from './secrets.ts';
import { defineServiceAccounts } from './serviceaccounts.ts';
import { serviceCidrs } from './servicecidrs.ts';
import { defineServices } from './services.ts';
import { csiDrivers } from './storage/csi-drivers.ts';
import { csiNodes } from './storage/csi-nodes.ts';
import { persistentVolumeClaims } from './storage/persistent-volume-claims.ts';
import { persistentVolumes } from './storage/persistent-volumes.ts';
import { storageClasses } from './storage/storage-classes.ts';
import { volumeAttachments } from './storage/volume-attachments.ts';

export interface ServedResourcesOptions {
  /** Holds cluster IPs and node ports; restore() it from the stored Services before the first request. */
  allocator: ServiceAllocator;
  /** pods/log and whatever else the server can serve of a running pod, by name. */
  podSubresources?: Readonly<Record<string, SubresourceDefinition<Pod>>>;
  /** services/proxy, where pods can be reached. */
  serviceSubresources?: Readonly<Record<string, SubresourceDefinition<Service>>>;
  /** nodes/proxy, where nodes can be asked. */
  nodeSubresources?: Readonly<Record<string, SubresourceDefinition<Node>>>;
  /** serviceaccounts/token, which needs a key. */
  serviceAccountSubresources?: Readonly<Record<string, SubresourceDefinition<ServiceAccount>>>;
  /** Audiences of tokens that nodes may have for any of their pods. */
  nodeTokenAudiences?: readonly string[];
  /** Who may decide about requests for certificates; absent: none are taken. */
  certificateRequests?: CertificateRequestPolicy;
  /** Upstream's five minutes unless said. */
  tolerationSeconds?: DefaultTolerationSeconds;
  clock?: Clock;
}

/** Every kind that this control plane stores, in discovery order. */
export function servedResources(options: ServedResourcesOptions): ResourceDefinition[] {
  const {
    allocator,
    podSubresources = {},
    serviceAccountSubresources = {},
    tolerationSeconds,
    certificateRequests,
    clock = systemClock,
  } = options;
  const pods = definePods({
    subresources: podSubresources,
    ...(tolerationSeconds && { tolerationSeconds }),
    sleep: (ms) => clock.sleep(ms),
  });
  return [
    bindings,
    configMaps,
    endpoints,
    events,
    namespaces,
    { ...nodes, subresources: { ...nodes.subresources, ...options.nodeSubresources } },
    persistentVolumeClaims,
    persistentVolumes,
    pods,
    secrets,
    defineServiceAccounts(serviceAccountSubresources),
    defineServices(allocator, options.serviceSubresources),
    deployments,
    replicaSets,
    leases,
    endpointSlices,
    csiDrivers,
    csiNodes,
    storageClasses,
    volumeAttachments,
    serviceCidrs,
    ...(certificateRequests ? [defineCertificateSigningRequests(certificateRequests)] : []),
  ].map((definition) =>
    restrictNodeTokens(
      restrictNodes(definition as unknown as ResourceDefinition<KubeObject>),
      options.nodeTokenAudiences,
    ),
  );
}
