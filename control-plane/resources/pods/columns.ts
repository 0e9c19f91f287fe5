import type { Pod } from '../../../src/kube/types.ts';
import type { TableColumn } from '../../apiserver/definition.ts';
import { ageColumn, column, nameColumn, wideColumn } from '../columns.ts';
import { summarizePod } from './status-text.ts';

export const podColumns: readonly TableColumn<Pod>[] = [
  nameColumn,
  column(
    'Ready',
    'string',
    'The aggregate readiness state of this pod for accepting traffic.',
    (pod, nowMs) => summarizePod(pod, nowMs).ready,
  ),
  column(
    'Status',
    'string',
    'The aggregate status of the containers in this pod.',
    (pod, nowMs) => summarizePod(pod, nowMs).status,
  ),
  column(
    'Restarts',
    'string',
    'The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.',
    (pod, nowMs) => summarizePod(pod, nowMs).restarts,
  ),
  ageColumn,
  wideColumn('IP', 'string', 'The address of the pod.', (pod) => podAddress(pod) || '<none>'),
  wideColumn('Node', 'string', 'The node that the pod runs on.', (pod) => pod.spec.nodeName || '<none>'),
  wideColumn(
    'Nominated Node',
    'string',
    'The node on which room is being made for the pod.',
    (pod) => pod.status?.nominatedNodeName || '<none>',
  ),
  wideColumn('Readiness Gates', 'string', 'The readiness gates that hold, of all of them.', describeGates),
];

export function podAddress(pod: Pod): string {
  return pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP ?? '';
}

function describeGates(pod: Pod): string {
  const gates = pod.spec.readinessGates ?? [];
  if (gates.length === 0) return '<none>';
  const holding = gates.filter(({ conditionType }) =>
    (pod.status?.conditions ?? []).some(({ type, status }) => type === conditionType && status === 'True'),
  );
  return `${holding.length}/${gates.length}`;
}
