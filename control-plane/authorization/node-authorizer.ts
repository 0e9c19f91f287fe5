import { parseFieldSelector } from '../../src/kube/selectors.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '../apiserver/authorization.ts';
import type { ObjectReader } from '../apiserver/definition.ts';
import { authorizeStorage, isVolumeSecret } from './node-storage.ts';
import { type PodReferences, referencesOf } from './pod-references.ts';
import { NODE_RULES, rulesAllow } from './rules.ts';

const NODE_LEASES = 'kube-node-lease';
const PODS = { group: '', plural: 'pods' };

const ALLOWED: AuthorizationDecision = { allowed: true, reason: '' };
const deny = (reason: string): AuthorizationDecision => ({ allowed: false, reason });

/**
 * What a node may ask for (upstream's Node authorizer; the reasons are its words). What depends on the objects that a
 * write carries is checked by NodeRestriction.
 */
export async function authorizeNode(
  node: string,
  attributes: AuthorizationAttributes,
  objects: ObjectReader,
): Promise<AuthorizationDecision> {
  switch (`${attributes.apiGroup}/${attributes.resource}`) {
    case '/secrets':
      return authorizeReferenced(node, attributes, objects, 'secrets');
    case '/configmaps':
      return authorizeReferenced(node, attributes, objects, 'configMaps');
    case '/serviceaccounts':
      return authorizeServiceAccount(node, attributes, objects);
    case '/pods':
      return authorizePods(node, attributes, objects);
    case '/nodes':
      if (authorizeNodes(attributes)) return ALLOWED;
      break;
    case 'coordination.k8s.io/leases':
      return authorizeLease(node, attributes);
    case '/persistentvolumeclaims':
    case '/persistentvolumes':
    case 'storage.k8s.io/volumeattachments':
    case 'storage.k8s.io/csinodes':
      return authorizeStorage(node, attributes, objects);
  }
  return rulesAllow(NODE_RULES, attributes) ? ALLOWED : deny('');
}

/** Secrets and config maps: single ones, and only those that a pod on the node refers to, by itself or through a volume. */
async function authorizeReferenced(
  node: string,
  { verb, subresource, namespace, name }: AuthorizationAttributes,
  objects: ObjectReader,
  references: keyof PodReferences,
): Promise<AuthorizationDecision> {
  if (!['get', 'list', 'watch'].includes(verb)) return deny('can only read resources of this type');
  if (subresource) return deny('cannot read subresource');
  if (!namespace) return deny('can only read namespaced object of this type');
  if (!name) return deny('No Object name found');
  const pods = await objects.list<Pod>(PODS, namespace);
  const isLinked = pods.some((pod) => pod.spec.nodeName === node && referencesOf(pod)[references].has(name));
  if (isLinked) return ALLOWED;
  const isOfVolume = references === 'secrets' && (await isVolumeSecret(node, objects, namespace, name));
  return isOfVolume ? ALLOWED : unrelated(node);
}

/** Service accounts under which a pod on the node runs, and their tokens; that those are bound to that pod is checked by NodeRestriction. */
async function authorizeServiceAccount(
  node: string,
  { verb, subresource, namespace, name }: AuthorizationAttributes,
  objects: ObjectReader,
): Promise<AuthorizationDecision> {
  // Credential provider plugins are told of the account's annotations.
  const isRead = verb === 'get' && subresource === '';
  if ((!isRead && verb !== 'create') || !name) return deny('can only create tokens for individual service accounts');
  if (!isRead && subresource !== 'token') return deny('can only create token subresource of serviceaccount');
  const pods = await objects.list<Pod>(PODS, namespace);
  const isLinked = pods.some(({ spec }) => spec.nodeName === node && spec.serviceAccountName === name);
  return isLinked ? ALLOWED : unrelated(node);
}

const unrelated = (node: string) => deny(`no relationship found between node '${node}' and this object`);

async function authorizePods(
  node: string,
  attributes: AuthorizationAttributes,
  objects: ObjectReader,
): Promise<AuthorizationDecision> {
  const { verb, subresource, namespace, name } = attributes;
  const ownPod = async () => {
    const pod = name ? await objects.get<Pod>(PODS, namespace, name) : undefined;
    return pod?.spec.nodeName === node ? ALLOWED : unrelated(node);
  };
  switch (`${verb} ${subresource}`) {
    case 'get ':
      return ownPod();
    case 'list ':
    case 'watch ':
      if (selectsNode(attributes.fieldSelector, node)) return ALLOWED;
      return name ? ownPod() : deny('can only list/watch pods with spec.nodeName field selector');
    // Only its own ones: NodeRestriction.
    case 'create ':
    case 'delete ':
    case 'update status':
    case 'patch status':
    case 'create eviction':
      return ALLOWED;
    default:
      return deny('');
  }
}

function selectsNode(fieldSelector: string, node: string): boolean {
  try {
    return parseFieldSelector(fieldSelector).some(
      ({ field, operator, value }) => field === 'spec.nodeName' && operator === '=' && value === node,
    );
  } catch {
    // Malformed: the request is refused for that later.
    return false;
  }
}

/** Writes to nodes; to its own one only: NodeRestriction. */
function authorizeNodes({ verb, subresource }: AuthorizationAttributes): boolean {
  if (subresource === '') return ['create', 'update', 'patch'].includes(verb);
  return subresource === 'status' && ['update', 'patch'].includes(verb);
}

function authorizeLease(node: string, { verb, namespace, name }: AuthorizationAttributes): AuthorizationDecision {
  if (!['get', 'create', 'update', 'patch', 'delete'].includes(verb))
    return deny('can only get, create, update, patch, or delete a node lease');
  if (namespace !== NODE_LEASES) return deny(`can only access leases in the "${NODE_LEASES}" system namespace`);
  // A POST carries its name in the body: NodeRestriction.
  if (verb !== 'create' && name !== node)
    return deny('can only access node lease with the same name as the requesting node');
  return ALLOWED;
}
