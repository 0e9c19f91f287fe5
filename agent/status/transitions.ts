import type { ContainerStatus, Pod, PodStatus } from '../../src/kube/types.ts';
import { restartsAfterExit } from '../containers/restart.ts';
import { couldRestartAll } from '../pods/restart-all.ts';
import { isTerminalPhase } from './phase.ts';

/**
 * What may never be published after `before`: leaving a terminal phase, or reviving a container that its policy keeps
 * dead. Returns the reason, or undefined when the step is fine.
 */
export function forbiddenTransition(pod: Pod, before: PodStatus | undefined, after: PodStatus): string | undefined {
  if (!before) return undefined;
  if (isTerminalPhase(before.phase) && after.phase !== before.phase)
    return `a pod that is ${before.phase} never becomes ${after.phase}`;
  if (couldRestartAll(pod)) return undefined;
  const lists: [ContainerStatus[] | undefined, ContainerStatus[] | undefined, Pod['spec']['containers'] | undefined][] =
    [
      [before.containerStatuses, after.containerStatuses, pod.spec.containers],
      [before.initContainerStatuses, after.initContainerStatuses, pod.spec.initContainers],
    ];
  for (const [old, next, containers] of lists)
    for (const { name, state } of old ?? []) {
      const container = containers?.find((one) => one.name === name);
      const now = next?.find((one) => one.name === name)?.state;
      if (!container || !state?.terminated || !now || now.terminated) continue;
      // A new sandbox runs the init containers anew, whatever they returned in the old one.
      if (containers === pod.spec.initContainers && state.terminated.exitCode === 0) continue;
      if (!restartsAfterExit(pod, container, state.terminated.exitCode))
        return `container ${name} has ended (exit code ${state.terminated.exitCode}) and its policy does not restart it`;
    }
  return undefined;
}
