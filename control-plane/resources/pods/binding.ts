import type { Binding, Pod, PodCondition } from '../../../src/kube/types.ts';
import { timestamp } from '../../../src/runtime/clock.ts';
import type { CreateSubresource } from '../../apiserver/definition.ts';
import { type FieldError, notSupported, required } from '../../apiserver/field-error.ts';
import { conflict, invalidObject } from '../../apiserver/status-error.ts';

const BINDING = { group: '', plural: 'bindings', kind: 'Binding' };
/** Upstream's conflicts name the subresource. */
const PODS_BINDING = { group: '', plural: 'pods/binding', kind: 'Binding' };

/** POST pods/NAME/binding: the scheduler gives a pod its node, once. */
export const podBinding: CreateSubresource<Pod> = {
  style: 'create',
  group: '',
  version: 'v1',
  kind: 'Binding',
  async create({ name, body, context, modify }) {
    const binding = body as unknown as Binding;
    const errors = validateBinding(binding);
    if (errors.length > 0) throw invalidObject(BINDING, name, errors);
    await modify((pod) => bind(pod, binding, context.nowMs));
    return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 };
  },
};

function validateBinding(binding: Binding): FieldError[] {
  const { kind, name } = binding.target ?? {};
  return [
    ...(kind && kind !== 'Node' ? [notSupported('target.kind', kind, ['Node', '<empty>'])] : []),
    ...(name ? [] : [required('target.name')]),
  ];
}

function bind(pod: Pod, binding: Binding, nowMs: number): void {
  const { name, uid } = pod.metadata;
  const refuse = (why: string) => conflict(PODS_BINDING, name, why);
  const wantedUid = binding.metadata?.uid;
  if (wantedUid && wantedUid !== uid)
    throw refuse(`Precondition failed: UID in precondition: ${wantedUid}, UID in object meta: ${uid}`);
  if (pod.metadata.deletionTimestamp) throw refuse(`pod ${name} is being deleted, cannot be assigned to a host`);
  if (pod.spec.nodeName) throw refuse(`pod ${name} is already assigned to node ${JSON.stringify(pod.spec.nodeName)}`);
  if ((pod.spec.schedulingGates ?? []).length > 0) throw refuse(`pod ${name} has non-empty .spec.schedulingGates`);
  pod.spec.nodeName = binding.target.name;
  if (binding.metadata?.annotations)
    pod.metadata.annotations = { ...pod.metadata.annotations, ...binding.metadata.annotations };
  if (binding.metadata?.labels) pod.metadata.labels = { ...pod.metadata.labels, ...binding.metadata.labels };
  setScheduled(pod, nowMs);
}

function setScheduled(pod: Pod, nowMs: number): void {
  pod.status ??= {};
  const conditions = pod.status.conditions ?? [];
  const old = conditions.find((one) => one.type === 'PodScheduled');
  if (old?.status === 'True') return;
  const condition: PodCondition = {
    type: 'PodScheduled',
    status: 'True',
    lastProbeTime: null as unknown as string,
    lastTransitionTime: timestamp(nowMs),
  };
  pod.status.conditions = [...conditions.filter((one) => one !== old), condition];
}
