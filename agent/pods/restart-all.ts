import type { Pod, PodStatus } from '../../src/kube/types.ts';
import { matchingRule } from '../containers/restart.ts';
import type { ContainerRuntimeStatus, PodRuntimeStatus } from './ports.ts';

/** The condition that shows it, and the reason of containers that are gone meanwhile. */
export const ALL_CONTAINERS_RESTARTING = 'AllContainersRestarting';
export const RESTARTING_ALL_CONTAINERS = 'RestartingAllContainers';

const specsOf = ({ spec }: Pod) => [...(spec.initContainers ?? []), ...spec.containers];

/** Whether a container of this pod has a rule with the action RestartAllContainers. */
export function couldRestartAll(pod: Pod): boolean {
  return specsOf(pod).some(({ restartPolicyRules = [] }) =>
    restartPolicyRules.some(({ action }) => action === 'RestartAllContainers'),
  );
}

/**
 * The containers whose end restarts all of the pod (sheet §4.3): empty: none. Their records are what keeps a reset going
 * over a restart of the agent, so they are the last to be removed.
 */
export function restartAllSources(pod: Pod, runtime: PodRuntimeStatus): ContainerRuntimeStatus[] {
  if (pod.metadata.deletionTimestamp || !couldRestartAll(pod)) return [];
  return specsOf(pod).flatMap((container) => {
    const record = runtime.containers.find(({ name }) => name === container.name);
    if (record?.state !== 'exited') return [];
    const rule = matchingRule(container, record.exitCode ?? 137);
    return rule?.action === 'RestartAllContainers' ? [record] : [];
  });
}

/** Whether the last published status says that the containers of the pod are being restarted, all of them. */
export function wasRestartingAll(status: PodStatus | undefined): boolean {
  return (
    status?.conditions?.some(({ type, status: value }) => type === ALL_CONTAINERS_RESTARTING && value === 'True') ??
    false
  );
}
