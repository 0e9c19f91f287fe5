import type { PersistentVolumeClaim, Pod, VolumeAttachment } from '../../src/kube/types.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '../apiserver/authorization.ts';
import type { ObjectReader } from '../apiserver/definition.ts';
import { referencesOf } from './pod-references.ts';

const PODS = { group: '', plural: 'pods' };
const CLAIMS = { group: '', plural: 'persistentvolumeclaims' };
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
        ? await isVolumeOf(node, objects, name)
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

async function isVolumeOf(node: string, objects: ObjectReader, name: string): Promise<boolean> {
  const own = await claimsOf(node, objects);
  const claims = await objects.list<PersistentVolumeClaim>(CLAIMS);
  return claims.some(
    ({ metadata, spec }) => spec.volumeName === name && own.has(`${metadata.namespace}/${metadata.name}`),
  );
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
