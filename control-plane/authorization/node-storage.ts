import type {
  CSIDriver,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  VolumeAttachment,
} from '../../src/kube/types.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '../apiserver/authorization.ts';
import type { ObjectReader } from '../apiserver/definition.ts';
import { referencesOf } from './pod-references.ts';

const PODS = { group: '', plural: 'pods' };
const CLAIMS = { group: '', plural: 'persistentvolumeclaims' };
const VOLUMES = { group: '', plural: 'persistentvolumes' };
const DRIVERS = { group: 'storage.k8s.io', plural: 'csidrivers' };
const ATTACHMENTS = { group: 'storage.k8s.io', plural: 'volumeattachments' };

const ALLOWED: AuthorizationDecision = { allowed: true, reason: '' };
const deny = (reason: string): AuthorizationDecision => ({ allowed: false, reason });

/**
 * Node authorizer, storage: a node reads the claims of its pods, the volumes behind these and the attachments to
 * itself, and keeps its own CSINode.
 */
export async function authorizeStorage(
  node: string,
  attributes: AuthorizationAttributes,
  objects: ObjectReader,
): Promise<AuthorizationDecision> {
  if (attributes.resource === 'csinodes') return authorizeCsiNode(node, attributes);
  const { verb, subresource, namespace, name, resource } = attributes;
  const mayWatch = resource === 'persistentvolumeclaims' ? ['get', 'list', 'watch'] : ['get'];
  if (!mayWatch.includes(verb)) return deny('can only get individual resources of this type');
  if (subresource) return deny('cannot read subresource');
  if (!name) return deny('No Object name found');
  const isLinked =
    resource === 'persistentvolumeclaims'
      ? (await claimsOf(node, objects, namespace)).has(`${namespace}/${name}`)
      : resource === 'persistentvolumes'
        ? (await volumesOf(node, objects)).some(({ metadata }) => metadata.name === name)
        : (await objects.get<VolumeAttachment>(ATTACHMENTS, '', name))?.spec.nodeName === node;
  return isLinked ? ALLOWED : deny(`no relationship found between node '${node}' and this object`);
}

/** `namespace/name` of every claim that a pod on the node names. */
async function claimsOf(node: string, objects: ObjectReader, namespace?: string): Promise<Set<string>> {
  const pods = await objects.list<Pod>(PODS, namespace);
  return new Set(
    pods
      .filter(({ spec }) => spec.nodeName === node)
      .flatMap((pod) =>
        [...referencesOf(pod).persistentVolumeClaims].map((name) => `${pod.metadata.namespace}/${name}`),
      ),
  );
}

/** Volumes behind the claims of the node's pods. */
async function volumesOf(node: string, objects: ObjectReader): Promise<PersistentVolume[]> {
  const own = await claimsOf(node, objects);
  const claims = await objects.list<PersistentVolumeClaim>(CLAIMS);
  const names = claims
    .filter(({ metadata }) => own.has(`${metadata.namespace}/${metadata.name}`))
    .map(({ spec }) => spec.volumeName);
  const found = await Promise.all(
    names.map((name) => (name ? objects.get<PersistentVolume>(VOLUMES, '', name) : undefined)),
  );
  return found.filter((volume) => volume !== undefined);
}

/** Whether a volume of one of the node's pods is mounted with this secret; those of the attacher are none of its business. */
export async function isVolumeSecret(
  node: string,
  objects: ObjectReader,
  namespace: string,
  name: string,
): Promise<boolean> {
  return (await volumesOf(node, objects)).some(({ spec }) =>
    [spec.csi?.nodeStageSecretRef, spec.csi?.nodePublishSecretRef, spec.csi?.nodeExpandSecretRef].some(
      (reference) => reference?.name === name && reference.namespace === namespace,
    ),
  );
}

/** Audiences of the tokens that the drivers of the pod's volumes ask for. */
export async function driverAudiences(pod: Pod, objects: ObjectReader): Promise<string[]> {
  const names = new Set((pod.spec.volumes ?? []).flatMap(({ csi }) => (csi ? [csi.driver] : [])));
  for (const claimName of referencesOf(pod).persistentVolumeClaims) {
    const claim = await objects.get<PersistentVolumeClaim>(CLAIMS, pod.metadata.namespace!, claimName);
    const volume = await objects.get<PersistentVolume>(VOLUMES, '', claim?.spec.volumeName ?? '');
    if (volume?.spec.csi) names.add(volume.spec.csi.driver);
  }
  const drivers = await Promise.all([...names].map((name) => objects.get<CSIDriver>(DRIVERS, '', name)));
  return drivers.flatMap((driver) => (driver?.spec.tokenRequests ?? []).map(({ audience }) => audience));
}

function authorizeCsiNode(node: string, { verb, subresource, name }: AuthorizationAttributes): AuthorizationDecision {
  if (!['get', 'create', 'update', 'patch', 'delete'].includes(verb))
    return deny('can only get, create, update, patch, or delete a CSINode');
  if (subresource) return deny('cannot authorize CSINode subresources');
  // A POST carries its name in the body: NodeRestriction.
  if (verb !== 'create' && name !== node)
    return deny('can only access CSINode with the same name as the requesting node');
  return ALLOWED;
}
