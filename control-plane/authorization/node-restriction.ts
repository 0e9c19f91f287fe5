import { isDeepStrictEqual } from 'node:util';
import { parseCertificateRequest } from '../../src/auth/certificate-request.ts';
import type { CertificateSigningRequest } from '../../src/kube/schema/generated/types/certificates-v1.ts';
import type { KubeObject, Node, Pod } from '../../src/kube/types.ts';
import type { ResourceDefinition, StrategyContext } from '../apiserver/definition.ts';
import { forbidden } from '../apiserver/status-error.ts';
import { KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER } from '../certificates/signers.ts';
import { nodeNameOf } from './node-identity.ts';
import { referencesOf } from './pod-references.ts';

/**
 * NodeRestriction (sheet §14): what the authorizer can't see, because it is in the objects. A node writes its own Node,
 * Lease and mirror pods, and the status of pods that are bound to it; it never gives itself labels or takes away taints
 * by which work is kept from it.
 */
export function restrictNodes<T extends KubeObject>(definition: ResourceDefinition<T>): ResourceDefinition<T> {
  const rules = RULES[`${definition.group}/${definition.plural}`];
  if (!rules) return definition;
  const apply = (rule: Rule | undefined, object: KubeObject, old: KubeObject | undefined, context: StrategyContext) => {
    const node = nodeNameOf(context.user);
    if (node === undefined || !rule) return undefined;
    const refuse = (why: string) => forbidden(definition, object.metadata.name ?? '', why);
    return rule({ node, object, old, context, refuse });
  };
  return {
    ...definition,
    async prepareForCreate(object, context) {
      await apply(rules.create, object, undefined, context);
      await definition.prepareForCreate(object, context);
    },
    async prepareForUpdate(object, old, context) {
      await apply(rules.update, object, old, context);
      await definition.prepareForUpdate(object, old, context);
    },
    checkDelete(object, context) {
      definition.checkDelete?.(object, context);
      apply(rules.delete, object, object, context);
    },
    ...(definition.hasStatus
      ? {
          status: {
            ...definition.status,
            async prepareForUpdate(object: T, old: T, context: StrategyContext) {
              await apply(rules.status, object, old, context);
              await definition.status?.prepareForUpdate?.(object, old, context);
            },
          },
        }
      : {}),
  };
}

interface Attempt {
  readonly node: string;
  readonly object: KubeObject;
  readonly old: KubeObject | undefined;
  readonly context: StrategyContext;
  /** The error to throw. */
  refuse(why: string): Error;
}

type Rule = (attempt: Attempt) => void | Promise<void>;

interface Rules {
  create?: Rule;
  update?: Rule;
  status?: Rule;
  /** Synchronous. */
  delete?: (attempt: Attempt) => void;
}

const quote = (text: string) => JSON.stringify(text);

const RULES: Readonly<Record<string, Rules>> = {
  '/nodes': {
    create: createNode,
    update: updateNode,
    status: updateNode,
    delete: (attempt) => ownNode(attempt),
  },
  '/pods': {
    create: createPod,
    update: ({ node, refuse }) => {
      throw refuse(`unexpected operation "UPDATE", node ${quote(node)} can only create and delete mirror pods`);
    },
    status: updatePodStatus,
    delete({ node, object, refuse }) {
      if ((object as Pod).spec.nodeName !== node)
        throw refuse(`node ${quote(node)} can only delete pods with spec.nodeName set to itself`);
    },
  },
  'coordination.k8s.io/leases': {
    create: ownLease,
    update: ownLease,
    delete: ownLease,
  },
  'certificates.k8s.io/certificatesigningrequests': { create: createCertificateRequest },
  'storage.k8s.io/csinodes': {
    create: ownCsiNode,
    update: ownCsiNode,
    delete: ownCsiNode,
  },
};

function ownNode({ node, object, refuse }: Attempt): void {
  const { name } = object.metadata;
  if (name !== node) throw refuse(`node ${quote(node)} is not allowed to modify node ${quote(name)}`);
}

function createNode(attempt: Attempt): void {
  ownNode(attempt);
  // Upstream refuses the change alone; an object that begins with an owner which does not exist is collected just as well.
  if (attempt.object.metadata.ownerReferences?.length)
    throw attempt.refuse(`node ${quote(attempt.node)} is not allowed to set ownerReferences`);
  const labels = forbiddenLabels(attempt.object.metadata.labels, undefined);
  if (labels.length > 0)
    throw attempt.refuse(
      `node ${quote(attempt.node)} is not allowed to set the following labels: ${labels.join(', ')}`,
    );
}

function updateNode(attempt: Attempt): void {
  ownNode(attempt);
  const node = attempt.object as Node;
  const old = attempt.old as Node;
  if (!isDeepStrictEqual(node.spec?.taints ?? [], old.spec?.taints ?? []))
    throw attempt.refuse(`node ${quote(attempt.node)} is not allowed to modify taints`);
  // CVE-2025-5187: with an owner that does not exist the garbage collector would delete the node, which then could register anew, without the taints that it was given.
  if (!isDeepStrictEqual(node.metadata.ownerReferences ?? [], old.metadata.ownerReferences ?? []))
    throw attempt.refuse(`node ${quote(attempt.node)} is not allowed to modify ownerReferences`);
  const labels = forbiddenLabels(node.metadata.labels, old.metadata.labels);
  if (labels.length > 0) throw attempt.refuse(`is not allowed to modify labels: ${labels.join(', ')}`);
}

const NODE_LABELS: ReadonlySet<string> = new Set([
  'kubernetes.io/hostname',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'node.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'beta.kubernetes.io/instance-type',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
]);
const NODE_LABEL_NAMESPACES = ['kubelet.kubernetes.io', 'node.kubernetes.io'];

/** Labels that were set, changed or removed and are not the node's to say; sorted. */
function forbiddenLabels(
  labels: Record<string, string> = {},
  before: Record<string, string> | undefined = {},
): string[] {
  const keys = new Set([...Object.keys(labels), ...Object.keys(before)]);
  return [...keys].filter((key) => labels[key] !== before[key] && isForbiddenLabel(key)).sort();
}

function isForbiddenLabel(key: string): boolean {
  const namespace = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
  const isOf = (domain: string) => namespace === domain || namespace.endsWith(`.${domain}`);
  if (isOf('node-restriction.kubernetes.io')) return true;
  if (!isOf('kubernetes.io') && !isOf('k8s.io')) return false;
  return !NODE_LABELS.has(key) && !NODE_LABEL_NAMESPACES.some(isOf);
}

const MIRROR_POD_ANNOTATION = 'kubernetes.io/config.mirror';

async function createPod({ node, object, context, refuse }: Attempt): Promise<void> {
  const pod = object as Pod;
  const who = `node ${quote(node)}`;
  if (pod.metadata.annotations?.[MIRROR_POD_ANNOTATION] === undefined)
    throw refuse(`pod does not have ${quote(MIRROR_POD_ANNOTATION)} annotation, ${who} can only create mirror pods`);
  if (pod.spec.nodeName !== node) throw refuse(`${who} can only create pods with spec.nodeName set to itself`);
  const owners = pod.metadata.ownerReferences ?? [];
  if (owners.length > 1) throw refuse(`${who} can only create pods with a single owner reference set to itself`);
  const owner = owners[0];
  if (owner?.apiVersion !== 'v1' || owner.kind !== 'Node' || owner.name !== node)
    throw refuse(`${who} can only create pods with an owner reference set to itself`);
  if (!owner.controller) throw refuse(`${who} can only create pods with a controller owner reference set to itself`);
  if (owner.blockOwnerDeletion) throw refuse(`${who} must not set blockOwnerDeletion on an owner reference`);
  const own = await context.objects.get<Node>({ group: '', plural: 'nodes' }, '', node);
  if (!own) throw refuse(`error looking up node ${node} to verify uid: node ${quote(node)} not found`);
  if (owner.uid !== own.metadata.uid)
    throw refuse(`node ${node} UID mismatch: expected ${owner.uid} got ${own.metadata.uid}`);
  if (pod.spec.serviceAccountName) throw refuse(`${who} can not create pods that reference a service account`);
  const { secrets, configMaps, persistentVolumeClaims } = referencesOf(pod);
  for (const [names, what] of [
    [secrets, 'secrets'],
    [configMaps, 'configmaps'],
    [persistentVolumeClaims, 'persistentvolumeclaims'],
  ] as const)
    if (names.size > 0) throw refuse(`${who} can not create pods that reference ${what}`);
  // CVE-2025-4563: the node would get at devices that nobody allocated to it.
  if (pod.spec.resourceClaims?.length) throw refuse(`${who} can not create pods that reference resourceclaims`);
}

function updatePodStatus({ node, object, old, refuse }: Attempt): void {
  if ((old as Pod).spec.nodeName !== node)
    throw refuse(`node ${quote(node)} can only update pod status for pods with spec.nodeName set to itself`);
  if (!isDeepStrictEqual(object.metadata.labels ?? {}, old?.metadata.labels ?? {}))
    throw refuse(`node ${quote(node)} cannot update labels through pod status`);
  const claims = (pod: Pod) => pod.status?.resourceClaimStatuses ?? [];
  if (!isDeepStrictEqual(claims(object as Pod), claims(old as Pod)))
    throw refuse(`node ${quote(node)} cannot update resource claim statuses`);
}

/** A node that asks for another node's name would become that node. */
async function createCertificateRequest({ object, context, refuse }: Attempt): Promise<void> {
  const { signerName, request } = (object as CertificateSigningRequest).spec;
  if (signerName !== KUBELET_SERVING_SIGNER && signerName !== KUBELET_CLIENT_SIGNER) return;
  const asked = await parseCertificateRequest(Buffer.from(request, 'base64').toString()).catch(() => undefined);
  if (asked?.commonName !== context.user.username)
    throw refuse(`can only create a node CSR with CN=${context.user.username}`);
}

function ownLease({ node, object, refuse }: Attempt): void {
  if (object.metadata.namespace !== 'kube-node-lease')
    throw refuse('can only access leases in the "kube-node-lease" system namespace');
  if (object.metadata.name !== node)
    throw refuse('can only access node lease with the same name as the requesting node');
}

function ownCsiNode({ node, object, refuse }: Attempt): void {
  if (object.metadata.name !== node) throw refuse('can only access CSINode with the same name as the requesting node');
}
