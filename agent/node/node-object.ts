import { isDeepStrictEqual } from 'node:util';
import { compareQuantities } from '../../src/kube/quantity.ts';
import type { Draft, Node, NodeRuntimeHandlerFeatures, NodeStatus, Taint } from '../../src/kube/types.ts';
import { isExtendedResourceName } from '../resources/devices/resource-name.ts';
import { type NodeResources, renderNodeResources } from '../resources/node-resources.ts';

export interface NodeIdentity {
  name: string;
  /** InternalIPs, the primary family first. */
  ips: readonly string[];
  hostname: string;
  architecture: string;
  /** `--node-labels`, beside those that every node has. */
  labels: Readonly<Record<string, string>>;
  registerWithTaints: readonly Taint[];
  providerId?: string;
  /** A cloud's controller completes the node before pods come: it is tainted until then, and told the addresses that were asked for. */
  hasExternalCloud?: boolean;
}

const CONTROLLER_MANAGED = 'volumes.kubernetes.io/controller-managed-attach-detach';
const PROVIDED_NODE_IP = 'alpha.kubernetes.io/provided-node-ip';
const UNINITIALIZED: Taint = {
  key: 'node.cloudprovider.kubernetes.io/uninitialized',
  value: 'true',
  effect: 'NoSchedule',
};

/** Annotations of this node that it keeps as they should be. */
function nodeAnnotations({ hasExternalCloud, ips }: NodeIdentity): Record<string, string> {
  return { [CONTROLLER_MANAGED]: 'true', ...(hasExternalCloud && { [PROVIDED_NODE_IP]: ips.join(',') }) };
}

/** Labels of this node; also the ones that are put right on a Node object that exists already. */
export function nodeLabels({ hostname, architecture, labels }: NodeIdentity): Record<string, string> {
  return {
    'beta.kubernetes.io/arch': architecture,
    'beta.kubernetes.io/os': 'linux',
    'kubernetes.io/arch': architecture,
    'kubernetes.io/hostname': hostname,
    'kubernetes.io/os': 'linux',
    ...labels,
  };
}

/** The object as this node registers it. */
export function buildNode(identity: NodeIdentity, status: NodeStatus): Draft<Node> {
  const { name, providerId, hasExternalCloud } = identity;
  const taints = [...identity.registerWithTaints, ...(hasExternalCloud ? [UNINITIALIZED] : [])];
  return {
    metadata: { name, labels: nodeLabels(identity), annotations: nodeAnnotations(identity) },
    spec: {
      ...(providerId && { providerID: providerId }),
      ...(taints.length > 0 && { taints }),
    },
    status,
  };
}

/** Merge patch for a Node that exists already: labels and annotation that are ours; undefined when they are right. */
export function diffRegistration(identity: NodeIdentity, live: Node): object | undefined {
  const labels = missing(nodeLabels(identity), live.metadata.labels);
  const annotations = missing(nodeAnnotations(identity), live.metadata.annotations);
  if (!labels && !annotations) return undefined;
  return {
    metadata: {
      ...(labels && { labels }),
      ...(annotations && { annotations }),
    },
  };
}

function missing(
  wanted: Record<string, string>,
  live: Record<string, string> = {},
): Record<string, string> | undefined {
  const different = Object.entries(wanted).filter(([key, value]) => live[key] !== value);
  return different.length > 0 ? Object.fromEntries(different) : undefined;
}

/**
 * Status patch for a Node object that is older than what this agent remembers: its extended resources were those of another machine, or of
 * one whose plugins nobody knows any more (upstream's reconcileExtendedResource); undefined when it has none.
 */
export function zeroExtendedResources({ status }: Node): object | undefined {
  const zero = (list: Record<string, string> = {}) => {
    const names = Object.keys(list).filter((name) => isExtendedResourceName(name) && list[name] !== '0');
    return names.length > 0 ? Object.fromEntries(names.map((name) => [name, '0'])) : undefined;
  };
  const [capacity, allocatable] = [zero(status?.capacity), zero(status?.allocatable)];
  if (!capacity && !allocatable) return undefined;
  return { status: { ...(capacity && { capacity }), ...(allocatable && { allocatable }) } };
}

export interface NodeFacts {
  capacity: NodeResources;
  allocatable: NodeResources;
  nodeInfo: NonNullable<NodeStatus['nodeInfo']>;
  serverPort: number;
  images: NonNullable<NodeStatus['images']>;
  /** Nobody may detach these. */
  volumesInUse?: string[];
  /** Somebody wants the node's configuration to come from the API (`spec.configSource`). */
  hasConfigSource?: boolean;
  /** What the Engine's default handler can do for pods. */
  handlerFeatures?: NodeRuntimeHandlerFeatures;
}

/** What pods may ask for since this node does it (KEP-3619). */
const FEATURES: NodeStatus['features'] = { supplementalGroupsPolicy: true };

/** Features of pods that a scheduler may look for before it gives them to this node (KEP-5328). */
const DECLARED_FEATURES = ['InPlacePodLevelResourcesVerticalScaling', 'RestartAllContainersOnContainerExits'];

/** What a node answers to `spec.configSource`, which Kubernetes has given up with 1.24; servers before that still take it. */
const NO_CONFIG_SOURCE: NodeStatus['config'] = {
  error: 'this node takes its configuration from its files and flags: spec.configSource has no effect',
};

/** The status without what others write (volumesAttached, conditions that are not ours). */
export function computeNodeStatus(
  identity: NodeIdentity,
  facts: NodeFacts,
  conditions: NonNullable<NodeStatus['conditions']>,
): NodeStatus {
  return {
    addresses: [
      ...identity.ips.map((address) => ({ type: 'InternalIP', address })),
      { type: 'Hostname', address: identity.hostname },
    ],
    allocatable: renderNodeResources(facts.allocatable),
    capacity: renderNodeResources(facts.capacity),
    conditions,
    features: FEATURES,
    declaredFeatures: DECLARED_FEATURES,
    daemonEndpoints: { kubeletEndpoint: { Port: facts.serverPort } },
    images: facts.images,
    nodeInfo: facts.nodeInfo,
    ...(facts.hasConfigSource && { config: NO_CONFIG_SOURCE }),
    ...(facts.volumesInUse && { volumesInUse: facts.volumesInUse }),
    ...(facts.handlerFeatures && { runtimeHandlers: [{ name: '', features: facts.handlerFeatures }] }),
  };
}

/**
 * Strategic merge patch from the live status to ours; undefined when only heartbeats differ and no report is due.
 * `report` sends the heartbeats in any case.
 */
export function diffNodeStatus(
  live: NodeStatus | undefined,
  wanted: NodeStatus,
  report: boolean,
  refused: RefusedFields = new Map(),
): object | undefined {
  const status: Record<string, unknown> = {};
  for (const field of WHOLE_FIELDS)
    if (!isDeepStrictEqual(plain(live?.[field]), plain(wanted[field])) && refused.get(field) !== text(wanted[field]))
      // null takes away what is no longer so.
      status[field] = wanted[field] ?? null;
  for (const field of ['capacity', 'allocatable'] as const) {
    const changes = diffMap(live?.[field], wanted[field]);
    if (changes) status[field] = changes;
  }
  if (!isDeepStrictEqual(plain(live?.addresses), plain(wanted.addresses)))
    // Addresses merge by type: without the directive, two InternalIPs would fall together.
    status.addresses = [...(wanted.addresses ?? []), { $patch: 'replace' }];
  const changed = (wanted.conditions ?? []).some((condition) => {
    const old = live?.conditions?.find(({ type }) => type === condition.type);
    return old?.status !== condition.status || old?.reason !== condition.reason || old?.message !== condition.message;
  });
  // Heartbeats travel together: one old time among new ones would look like a sick condition.
  if (changed || report || Object.keys(status).length > 0) status.conditions = wanted.conditions;
  return Object.keys(status).length > 0 ? { status } : undefined;
}

const WHOLE_FIELDS = [
  'config',
  'daemonEndpoints',
  'declaredFeatures',
  'features',
  'images',
  'nodeInfo',
  'runtimeHandlers',
  'volumesInUse',
] as const;

/** Fields that a server did not keep as they were sent (an older one that lacks parts of them), with what was sent. */
export type RefusedFields = ReadonlyMap<string, string>;

/** Compares the server's answer to a patch with what was wanted: sending that again would change nothing. */
export function refusedFields(answer: NodeStatus | undefined, wanted: NodeStatus): RefusedFields {
  const different = WHOLE_FIELDS.filter((field) => !isDeepStrictEqual(plain(answer?.[field]), plain(wanted[field])));
  return new Map(different.map((field) => [field, text(wanted[field])]));
}

function text(value: unknown): string {
  return JSON.stringify(value) ?? '';
}

function diffMap(
  live: Record<string, string> = {},
  wanted: Record<string, string> = {},
): Record<string, string | null> | undefined {
  const changes: Record<string, string | null> = {};
  for (const [name, value] of Object.entries(wanted)) if (!isEqualQuantity(live[name], value)) changes[name] = value;
  // Extended resources that are not in our list were written by others: administrators patch them into the status.
  for (const name of Object.keys(live)) if (!(name in wanted) && name.startsWith('hugepages-')) changes[name] = null;
  return Object.keys(changes).length > 0 ? changes : undefined;
}

function isEqualQuantity(one: string | undefined, other: string): boolean {
  return one !== undefined && (one === other || compareQuantities(one, other) === 0);
}

function plain(value: unknown): unknown {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return undefined;
  return JSON.parse(JSON.stringify(value));
}
