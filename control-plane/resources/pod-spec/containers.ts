import type { Container, ContainerPort, EphemeralContainer, PodSpec, Volume } from '../../../src/kube/types.ts';
import {
  duplicate,
  type FieldError,
  forbidden,
  invalid,
  notFound,
  notSupported,
  required,
} from '../../apiserver/field-error.ts';
import { labelName } from '../../apiserver/names.ts';
import { invalidFor, portNameProblems, portNumberProblems } from '../values.ts';
import { validateEnv, validateEnvFrom } from './env.ts';
import { validateVolumeDevices, validateVolumeMounts } from './mounts.ts';
import { validateLifecycle, validateProbes } from './probes.ts';
import { validateContainerResources } from './resources.ts';
import { validateContainerRestart } from './restart-rules.ts';
import { validateSecurityContext } from './security.ts';
import { validateStopSignal } from './stop-signal.ts';

/** Containers of all three sorts. */

/** What the rules of a container need of its pod. */
export interface PodSurroundings {
  readonly spec: PodSpec;
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly claimNames: ReadonlySet<string>;
}

export const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];

export function validateContainers(pod: PodSurroundings, field: string): FieldError[] {
  const containers = pod.spec.containers ?? [];
  if (containers.length === 0) return [required(field)];
  const names = new Set<string>();
  const errors = containers.flatMap((container, index) => {
    const at = `${field}[${index}]`;
    const own = validateCommon(container, pod, at);
    if (names.has(container.name)) own.push(duplicate(`${at}.name`, container.name));
    names.add(container.name);
    own.push(...validateRunning(container, pod, at));
    own.push(...validateContainerRestart(container, at));
    return own;
  });
  return [...errors, ...validateHostPorts(containers, field)];
}

/** Probes and hooks: only of containers that run beside the others. */
function validateRunning(container: Container, pod: PodSurroundings, field: string): FieldError[] {
  const graceSeconds = pod.spec.terminationGracePeriodSeconds;
  return [
    ...(container.lifecycle ? validateLifecycle(container.lifecycle, graceSeconds, `${field}.lifecycle`) : []),
    ...validateStopSignal(container.lifecycle?.stopSignal, pod.spec.os, `${field}.lifecycle.stopSignal`),
    ...validateProbes(container, graceSeconds, field),
  ];
}

export function validateInitContainers(pod: PodSurroundings, field: string): FieldError[] {
  const names = new Set((pod.spec.containers ?? []).map((container) => container.name));
  return (pod.spec.initContainers ?? []).flatMap((container, index) => {
    const at = `${field}[${index}]`;
    const errors = validateCommon(container, pod, at);
    errors.push(...validateContainerRestart(container, at));
    if (names.has(container.name)) errors.push(duplicate(`${at}.name`, container.name));
    else if (container.name) names.add(container.name);
    // One by one: init containers don't run at the same time.
    errors.push(...validateHostPorts([container], field));
    if (container.restartPolicy === 'Always') errors.push(...validateRunning(container, pod, at));
    else
      for (const part of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const)
        if (container[part])
          errors.push(forbidden(`${at}.${part}`, 'may not be set for init containers without restartPolicy=Always'));
    return errors;
  });
}

const NOT_EPHEMERAL = [
  'ports',
  'resources',
  'lifecycle',
  'livenessProbe',
  'readinessProbe',
  'startupProbe',
  'resizePolicy',
  'restartPolicy',
  'restartPolicyRules',
] as const;

export function validateEphemeralContainers(pod: PodSurroundings, field: string): FieldError[] {
  const others = new Set([...(pod.spec.containers ?? []), ...(pod.spec.initContainers ?? [])].map(({ name }) => name));
  const names = new Set(others);
  return (pod.spec.ephemeralContainers ?? []).flatMap((container: EphemeralContainer, index) => {
    const at = `${field}[${index}]`;
    const errors = [...validateCommon(container, pod, at), ...validateImagePadding(container.image, `${at}.image`)];
    if (names.has(container.name)) errors.push(duplicate(`${at}.name`, container.name));
    names.add(container.name);
    if (container.targetContainerName && !others.has(container.targetContainerName))
      errors.push(notFound(`${at}.targetContainerName`, container.targetContainerName));
    const why = 'cannot be set for an Ephemeral Container';
    for (const part of NOT_EPHEMERAL) {
      const value = container[part];
      const isSet = Array.isArray(value) ? value.length > 0 : value && Object.keys(value).length > 0;
      if (isSet) errors.push(forbidden(`${at}.${part}`, why));
    }
    (container.volumeMounts ?? []).forEach((mount, position) => {
      for (const part of ['subPath', 'subPathExpr'] as const)
        if (mount[part]) errors.push(forbidden(`${at}.volumeMounts[${position}].${part}`, why));
    });
    return errors;
  });
}

/** Only of real pods: templates were always taken with padded images. */
export function validateImagePadding(image: string | undefined, field: string): FieldError[] {
  return image !== undefined && image !== image.trim()
    ? [invalid(field, image, 'must not have leading or trailing whitespace')]
    : [];
}

function validateCommon(container: Container, pod: PodSurroundings, field: string): FieldError[] {
  const errors = container.name
    ? invalidFor(`${field}.name`, container.name, labelName(container.name))
    : [required(`${field}.name`)];
  if (!container.image) errors.push(required(`${field}.image`));
  const policy = container.terminationMessagePolicy;
  if (!policy) errors.push(required(`${field}.terminationMessagePolicy`));
  else if (policy !== 'File' && policy !== 'FallbackToLogsOnError')
    errors.push(notSupported(`${field}.terminationMessagePolicy`, policy, ['File', 'FallbackToLogsOnError']));
  errors.push(
    ...validatePorts(container.ports, `${field}.ports`),
    ...validateEnv(container.env, `${field}.env`),
    ...validateEnvFrom(container.envFrom, `${field}.envFrom`),
    ...validateVolumeMounts(container, pod.volumes, `${field}.volumeMounts`),
    ...validateVolumeDevices(container, pod.volumes, `${field}.volumeDevices`),
    ...validatePullPolicy(container.imagePullPolicy, `${field}.imagePullPolicy`),
    ...validateContainerResources(container.resources, pod.claimNames, `${field}.resources`),
    ...validateResizePolicy(container, pod.spec.restartPolicy, `${field}.resizePolicy`),
    ...validateSecurityContext(container.securityContext, pod.spec.hostUsers !== false, `${field}.securityContext`),
  );
  return errors;
}

function validatePullPolicy(policy: string | undefined, field: string): FieldError[] {
  const known = ['Always', 'IfNotPresent', 'Never'];
  if (!policy) return [required(field)];
  return known.includes(policy) ? [] : [notSupported(field, policy, known)];
}

function validateResizePolicy(container: Container, podRestartPolicy: string | undefined, field: string): FieldError[] {
  const seen = new Set<string>();
  return (container.resizePolicy ?? []).flatMap(({ resourceName, restartPolicy }, index) => {
    const errors: FieldError[] = [];
    if (seen.has(resourceName)) errors.push(duplicate(`${field}[${index}]`, resourceName));
    seen.add(resourceName);
    if (!resourceName) errors.push(required(field));
    else if (resourceName !== 'cpu' && resourceName !== 'memory')
      errors.push(notSupported(field, resourceName, ['cpu', 'memory']));
    if (!restartPolicy) errors.push(required(field));
    else if (restartPolicy !== 'NotRequired' && restartPolicy !== 'RestartContainer')
      errors.push(notSupported(field, restartPolicy, ['NotRequired', 'RestartContainer']));
    if (podRestartPolicy === 'Never' && restartPolicy !== 'NotRequired')
      errors.push(invalid(field, restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
    return errors;
  });
}

function validatePorts(ports: readonly ContainerPort[] | undefined, field: string): FieldError[] {
  const names = new Set<string>();
  return (ports ?? []).flatMap((port, index) => {
    const at = `${field}[${index}]`;
    const errors: FieldError[] = [];
    if (port.name) {
      const problems = portNameProblems(port.name);
      if (problems.length > 0) errors.push(...invalidFor(`${at}.name`, port.name, problems));
      else if (names.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
      else names.add(port.name);
    }
    if (!port.containerPort) errors.push(required(`${at}.containerPort`));
    else errors.push(...invalidFor(`${at}.containerPort`, port.containerPort, portNumberProblems(port.containerPort)));
    if (port.hostPort) errors.push(...invalidFor(`${at}.hostPort`, port.hostPort, portNumberProblems(port.hostPort)));
    if (!port.protocol) errors.push(required(`${at}.protocol`));
    else if (!PROTOCOLS.includes(port.protocol)) errors.push(notSupported(`${at}.protocol`, port.protocol, PROTOCOLS));
    return errors;
  });
}

/** No two containers may want the same port of the node. */
function validateHostPorts(containers: readonly Container[], field: string): FieldError[] {
  const taken = new Set<string>();
  return containers.flatMap((container, index) =>
    (container.ports ?? []).flatMap((port, position) => {
      if (!port.hostPort) return [];
      const key = `${port.protocol}/${port.hostIP ?? ''}/${port.hostPort}`;
      if (taken.has(key)) return [duplicate(`${field}[${index}].ports[${position}].hostPort`, key)];
      taken.add(key);
      return [];
    }),
  );
}
