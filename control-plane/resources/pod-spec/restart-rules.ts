import type { Container, ContainerRestartRule, PodSpec } from '../../../src/kube/types.ts';
import { type FieldError, notSupported, required, tooMany } from '../../apiserver/field-error.ts';

const POLICIES = ['Always', 'Never', 'OnFailure'];
const ACTIONS = ['Restart', 'RestartAllContainers'];
const OPERATORS = ['In', 'NotIn'];
const MAX_RULES = 20;
const MAX_EXIT_CODES = 255;

/** restartPolicy and restartPolicyRules of one container. */
export function validateContainerRestart(container: Container, field: string): FieldError[] {
  const { restartPolicy, restartPolicyRules = [] } = container;
  const errors: FieldError[] = [];
  if (restartPolicy) {
    if (!POLICIES.includes(restartPolicy)) errors.push(notSupported(`${field}.restartPolicy`, restartPolicy, POLICIES));
  } else if (restartPolicyRules.length > 0)
    errors.push(required(`${field}.restartPolicy`, 'must specify restartPolicy when restart rules are used'));
  if (restartPolicyRules.length > MAX_RULES)
    errors.push(tooMany(`${field}.restartPolicyRules`, restartPolicyRules.length, MAX_RULES));
  restartPolicyRules.forEach(({ action, exitCodes }, index) => {
    const at = `${field}.restartPolicyRules[${index}]`;
    if (!ACTIONS.includes(action ?? '')) errors.push(notSupported(`${at}.action`, action, ACTIONS));
    if (!exitCodes) {
      errors.push(required(`${at}.exitCodes`, 'must be specified'));
      return;
    }
    if (!OPERATORS.includes(exitCodes.operator ?? ''))
      errors.push(notSupported(`${at}.exitCodes.operator`, exitCodes.operator, OPERATORS));
    const count = exitCodes.values?.length ?? 0;
    if (count > MAX_EXIT_CODES) errors.push(tooMany(`${at}.exitCodes.values`, count, MAX_EXIT_CODES));
  });
  return errors;
}

/** Whether a container that ended so may run again: by its rules, else its own policy, else the pod's. */
export function mayRestart(spec: PodSpec, container: Container | undefined, exitCode: number): boolean {
  const matches = ({ exitCodes }: ContainerRestartRule) =>
    (exitCodes?.values ?? []).includes(exitCode) === (exitCodes?.operator === 'In');
  if (container?.restartPolicyRules?.some(matches)) return true;
  const policy = container?.restartPolicy ?? spec.restartPolicy ?? 'Always';
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

/** Whether some container's end may restart all of them, whatever their own policies say. */
export function mayRestartAll(spec: PodSpec): boolean {
  return [...(spec.initContainers ?? []), ...(spec.containers ?? [])].some((container) =>
    container.restartPolicyRules?.some(({ action }) => action === 'RestartAllContainers'),
  );
}
