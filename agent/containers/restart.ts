import type { Container, ContainerRestartRule, Pod } from '../../src/kube/types.ts';
import type { ContainerRuntimeStatus } from '../pods/ports.ts';

export type EffectiveRestartPolicy = 'Always' | 'OnFailure' | 'Never';

/** A restartable init container. */
export function isSidecar(container: Pick<Container, 'restartPolicy'>): boolean {
  return container.restartPolicy === 'Always';
}

/**
 * The policy for one container without its rules: its own, else the pod's. A plain init container is restarted on
 * failure unless the policy is Never, whatever Always says.
 */
export function restartPolicyOf(pod: Pod, container: Container): EffectiveRestartPolicy {
  return (container.restartPolicy ?? pod.spec.restartPolicy ?? 'Always') as EffectiveRestartPolicy;
}

function ruleMatches(rule: ContainerRestartRule, exitCode: number): boolean {
  const values = rule.exitCodes?.values ?? [];
  if (rule.exitCodes?.operator === 'In') return values.includes(exitCode);
  if (rule.exitCodes?.operator === 'NotIn') return !values.includes(exitCode);
  return false;
}

/** The rule that decides about an end with that exit code: the first that matches. */
export function matchingRule(container: Container, exitCode: number): ContainerRestartRule | undefined {
  return container.restartPolicyRules?.find((candidate) => ruleMatches(candidate, exitCode));
}

/** Whether an exited container runs again by its rules (first match wins), else by its policy (sheet §4.2, §4.3). */
export function restartsAfterExit(pod: Pod, container: Container, exitCode: number): boolean {
  if (matchingRule(container, exitCode)) return true;
  const policy = restartPolicyOf(pod, container);
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

/** Whether a regular container is to be started now, given its newest record. */
export function shouldStart(pod: Pod, container: Container, record: ContainerRuntimeStatus | undefined): boolean {
  if (pod.metadata.deletionTimestamp) return false;
  if (!record) return true;
  if (record.state === 'running') return false;
  if (record.state !== 'exited') return true;
  return restartsAfterExit(pod, container, record.exitCode ?? 137);
}
