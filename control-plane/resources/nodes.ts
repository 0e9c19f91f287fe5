import type { Node, Taint } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { duplicate, type FieldError, forbidden, invalid, notSupported, required } from '../apiserver/field-error.ts';
import { labelValueProblems } from '../apiserver/labels.ts';
import { ageColumn, column, nameColumn, wideColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { validateLabelKey } from './labels.ts';
import { canonicalizeResourceList } from './pod-spec/defaults.ts';
import { validateQuantity } from './pod-spec/resources.ts';
import { TAINT_EFFECTS } from './pod-spec/scheduling.ts';
import { cidrProblems, invalidFor } from './values.ts';

const NOT_READY_TAINT: Taint = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' };
const ROLE_LABEL_PREFIX = 'node-role.kubernetes.io/';

const entry: Parameters<typeof defineResource<Node>>[0] = {
  kind: 'Node',
  plural: 'nodes',
  shortNames: ['no'],
  namespaced: false,
  columns: [
    nameColumn,
    column('Status', 'string', 'The status of the node', describeStatus),
    column('Roles', 'string', 'The roles of the node', describeRoles),
    ageColumn,
    column('Version', 'string', 'Kubelet version reported by the node.', (node) => info(node, 'kubeletVersion')),
    wideColumn('Internal-IP', 'string', 'Internal address of the node.', (node) => address(node, 'InternalIP')),
    wideColumn('External-IP', 'string', 'External address of the node.', (node) => address(node, 'ExternalIP')),
    wideColumn('OS-Image', 'string', 'OS image reported by the node.', (node) => info(node, 'osImage')),
    wideColumn('Kernel-Version', 'string', 'Kernel version reported by the node.', (node) =>
      info(node, 'kernelVersion'),
    ),
    wideColumn('Container-Runtime', 'string', 'Container runtime and its version reported by the node.', (node) =>
      info(node, 'containerRuntimeVersion'),
    ),
  ],
  applyDefaults(node) {
    node.spec ??= {};
    const { spec, status } = node;
    if (spec.podCIDR && (spec.podCIDRs ?? []).length === 0) spec.podCIDRs = [spec.podCIDR];
    if (!spec.podCIDR && spec.podCIDRs?.[0]) spec.podCIDR = spec.podCIDRs[0];
    if (!status) return;
    if (status.capacity) canonicalizeResourceList(status.capacity);
    if (status.capacity && Object.keys(status.allocatable ?? {}).length === 0)
      status.allocatable = { ...status.capacity };
    if (status.allocatable) canonicalizeResourceList(status.allocatable);
  },
  prepareForCreate(node) {
    // Nothing is scheduled on a node before it says that it is ready (TaintNodesByCondition).
    const taints = node.spec.taints ?? [];
    if (!taints.some(({ key, effect }) => key === NOT_READY_TAINT.key && effect === NOT_READY_TAINT.effect))
      node.spec.taints = [...taints, { ...NOT_READY_TAINT }];
  },
  validate: (node) => [
    ...validateTaints(node.spec.taints, 'metadata.taints'),
    ...validateResources(node),
    ...validatePodCidrs(node.spec.podCIDRs),
  ],
  validateUpdate: validateNodeUpdate,
  selectableFields: { 'spec.unschedulable': (node) => String(node.spec.unschedulable ?? false) },
  hasStatus: true,
};

/** The status of a new node is taken as it is: nodes register with it. */
export const nodes: ResourceDefinition<Node> = defineResource<Node>(entry, { initialStatus: (node) => node.status });

function describeStatus(node: Node): string {
  const ready = (node.status?.conditions ?? []).find((condition) => condition.type === 'Ready');
  const words = [ready ? (ready.status === 'True' ? 'Ready' : 'NotReady') : 'Unknown'];
  if (node.spec?.unschedulable) words.push('SchedulingDisabled');
  return words.join(',');
}

function describeRoles(node: Node): string {
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(node.metadata.labels ?? {})) {
    if (key.startsWith(ROLE_LABEL_PREFIX) && key.length > ROLE_LABEL_PREFIX.length)
      roles.add(key.slice(ROLE_LABEL_PREFIX.length));
    else if (key === 'kubernetes.io/role' && value) roles.add(value);
  }
  return roles.size === 0 ? '<none>' : [...roles].sort().join(',');
}

type InfoField = 'kubeletVersion' | 'osImage' | 'kernelVersion' | 'containerRuntimeVersion';

function info(node: Node, field: InfoField): string {
  return node.status?.nodeInfo?.[field] || (field === 'kubeletVersion' ? '' : '<unknown>');
}

function address(node: Node, type: string): string {
  return (node.status?.addresses ?? []).find((one) => one.type === type)?.address || '<none>';
}

function validateTaints(taints: readonly Taint[] | undefined, field: string): FieldError[] {
  const seen = new Set<string>();
  return (taints ?? []).flatMap((taint, index) => {
    const at = `${field}[${index}]`;
    const errors = validateLabelKey(taint.key ?? '', `${at}.key`);
    const problems = labelValueProblems(taint.value ?? '');
    if (problems.length > 0) errors.push(invalid(`${at}.value`, taint.value, problems.join(';')));
    if (!taint.effect) errors.push(required(`${at}.effect`));
    else if (!TAINT_EFFECTS.includes(taint.effect))
      errors.push(notSupported(`${at}.effect`, taint.effect, TAINT_EFFECTS));
    const pair = `${taint.key}:${taint.effect}`;
    if (seen.has(pair))
      errors.push({ ...duplicate(at, taint), detail: 'taints must be unique by key and effect pair' });
    seen.add(pair);
    return errors;
  });
}

function validateResources(node: Node): FieldError[] {
  return (['capacity', 'allocatable'] as const).flatMap((list) =>
    Object.entries(node.status?.[list] ?? {}).flatMap(([name, quantity]) =>
      validateQuantity(name, quantity, `status.${list}.${name}`),
    ),
  );
}

function validatePodCidrs(cidrs: readonly string[] | undefined): FieldError[] {
  const field = 'spec.podCIDRs';
  const errors = (cidrs ?? []).flatMap((cidr, index) => invalidFor(`${field}[${index}]`, cidr, cidrProblems(cidr)));
  const families = (cidrs ?? []).map((cidr) => cidr.includes(':'));
  if (new Set(families).size < families.length)
    errors.push(invalid(field, cidrs, 'may specify no more than one CIDR for each IP family'));
  return errors;
}

function validateNodeUpdate(node: Node, old: Node): FieldError[] {
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  (node.status?.addresses ?? []).forEach((one, index) => {
    const key = `${one.type} ${one.address}`;
    if (seen.has(key)) errors.push(duplicate(`status.addresses[${index}]`, one));
    seen.add(key);
  });
  const cidrs = node.spec.podCIDRs ?? [];
  const before = old.spec?.podCIDRs ?? [];
  if (before.length > 0 && (cidrs.length !== before.length || before.some((cidr, index) => cidr !== cidrs[index])))
    errors.push(forbidden('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid'));
  if (old.spec?.providerID && old.spec.providerID !== node.spec.providerID)
    errors.push(forbidden('spec.providerID', 'node updates may not change providerID except from "" to valid'));
  return errors;
}
