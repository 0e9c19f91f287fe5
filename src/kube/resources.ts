import type { TokenReview } from './schema/generated/types/authentication-v1.ts';
import type { SubjectAccessReview } from './schema/generated/types/authorization-v1.ts';
import type { CertificateSigningRequest } from './schema/generated/types/certificates-v1.ts';
import type { ServiceCIDR } from './schema/generated/types/networking-v1.ts';
import type {
  ConfigMap,
  CSIDriver,
  CSINode,
  Deployment,
  EndpointSlice,
  Endpoints,
  Event,
  KubeObject,
  Lease,
  Namespace,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  ReplicaSet,
  Secret,
  Service,
  ServiceAccount,
  StorageClass,
  VolumeAttachment,
} from './types.ts';

/** Where a kind lives in the API. `type` exists only for the compiler: it ties the constant to its wire type. */
export interface Resource<T extends KubeObject = KubeObject> {
  /** API group; '' is the core group. */
  group: string;
  version: string;
  /** Lower-case plural, as in paths: 'pods'. */
  plural: string;
  kind: string;
  namespaced: boolean;
  readonly type?: T;
}

function resource<T extends KubeObject>(
  group: string,
  plural: string,
  kind: string,
  scope: 'Namespaced' | 'Cluster' = 'Namespaced',
): Resource<T> {
  return { group, version: 'v1', plural, kind, namespaced: scope === 'Namespaced' };
}

export const pods = resource<Pod>('', 'pods', 'Pod');
export const services = resource<Service>('', 'services', 'Service');
export const endpoints = resource<Endpoints>('', 'endpoints', 'Endpoints');
export const nodes = resource<Node>('', 'nodes', 'Node', 'Cluster');
export const namespaces = resource<Namespace>('', 'namespaces', 'Namespace', 'Cluster');
export const configMaps = resource<ConfigMap>('', 'configmaps', 'ConfigMap');
export const secrets = resource<Secret>('', 'secrets', 'Secret');
export const serviceAccounts = resource<ServiceAccount>('', 'serviceaccounts', 'ServiceAccount');
export const events = resource<Event>('', 'events', 'Event');
export const deployments = resource<Deployment>('apps', 'deployments', 'Deployment');
export const replicaSets = resource<ReplicaSet>('apps', 'replicasets', 'ReplicaSet');
export const endpointSlices = resource<EndpointSlice>('discovery.k8s.io', 'endpointslices', 'EndpointSlice');
export const serviceCidrs = resource<ServiceCIDR>('networking.k8s.io', 'servicecidrs', 'ServiceCIDR', 'Cluster');
export const persistentVolumes = resource<PersistentVolume>('', 'persistentvolumes', 'PersistentVolume', 'Cluster');
export const persistentVolumeClaims = resource<PersistentVolumeClaim>(
  '',
  'persistentvolumeclaims',
  'PersistentVolumeClaim',
);
export const storageClasses = resource<StorageClass>('storage.k8s.io', 'storageclasses', 'StorageClass', 'Cluster');
export const csiDrivers = resource<CSIDriver>('storage.k8s.io', 'csidrivers', 'CSIDriver', 'Cluster');
export const csiNodes = resource<CSINode>('storage.k8s.io', 'csinodes', 'CSINode', 'Cluster');
export const volumeAttachments = resource<VolumeAttachment>(
  'storage.k8s.io',
  'volumeattachments',
  'VolumeAttachment',
  'Cluster',
);
/** Reviews are answered, never stored. */
export const tokenReviews = resource<TokenReview>('authentication.k8s.io', 'tokenreviews', 'TokenReview', 'Cluster');
export const subjectAccessReviews = resource<SubjectAccessReview>(
  'authorization.k8s.io',
  'subjectaccessreviews',
  'SubjectAccessReview',
  'Cluster',
);
export const certificateSigningRequests = resource<CertificateSigningRequest>(
  'certificates.k8s.io',
  'certificatesigningrequests',
  'CertificateSigningRequest',
  'Cluster',
);
export const leases = resource<Lease>('coordination.k8s.io', 'leases', 'Lease');

/** 'v1' for the core group, else 'apps/v1'. */
export function apiVersionOf(of: Pick<Resource, 'group' | 'version'>): string {
  return of.group === '' ? of.version : `${of.group}/${of.version}`;
}

/**
 * The path of a collection: `/apis/apps/v1/namespaces/NS/deployments`, or over all namespaces without one.
 * Throws when a namespace is given for a cluster-scoped resource.
 */
export function collectionPath(of: Resource, namespace?: string): string {
  const root = of.group === '' ? `/api/${of.version}` : `/apis/${of.group}/${of.version}`;
  if (!namespace) return `${root}/${of.plural}`;
  if (!of.namespaced) throw new Error(`${of.plural} are cluster-scoped: namespace ${JSON.stringify(namespace)} given`);
  return `${root}/namespaces/${encodeURIComponent(namespace)}/${of.plural}`;
}

/** The path of one object, or of one of its subresources. Throws when a namespaced object has no namespace. */
export function objectPath(
  of: Resource,
  target: { namespace?: string; name: string; subresource?: string | undefined },
): string {
  if (of.namespaced && !target.namespace)
    throw new Error(`${of.kind} ${JSON.stringify(target.name)}: a namespace is needed, ${of.plural} are namespaced`);
  if (!target.name) throw new Error(`${of.kind}: an object path needs a name`);
  const path = `${collectionPath(of, of.namespaced ? target.namespace : undefined)}/${encodeURIComponent(target.name)}`;
  return target.subresource ? `${path}/${target.subresource}` : path;
}

/** The key of an object in informers and queues: 'namespace/name', or 'name' when cluster-scoped. */
export function objectKey(object: { metadata: { name?: string; namespace?: string } }): string {
  const { namespace, name } = object.metadata;
  return namespace ? `${namespace}/${name ?? ''}` : (name ?? '');
}
