import type { PodSpec } from '../../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { validateLabels } from '../../apiserver/labels.ts';
import { labelName, subdomainName } from '../../apiserver/names.ts';

import { inclusiveRange, invalidFor, MAX_INT32 } from '../values.ts';
import { validateContainers, validateEphemeralContainers, validateInitContainers } from './containers.ts';
import { validateDns, validateHostAliases } from './dns.ts';
import { validatePodResources, validateQuantity, validateResourceClaims } from './resources.ts';
import { validateAffinity, validateGates, validateTolerations, validateTopologySpread } from './scheduling.ts';
import { validateHostUsers, validatePodSecurityContext } from './security.ts';
import { validateVolumes } from './volumes.ts';

const RESTART_POLICIES = ['Always', 'OnFailure', 'Never'];

/**
 * Rules of a pod's spec (sheet §10; upstream's ValidatePodSpec). `ofPod` is true for a real pod: a template may leave
 * host ports of hostNetwork pods open. `field` is `spec` or `spec.template.spec`.
 */
export function validatePodSpec(spec: PodSpec, field: string, ofPod: boolean): FieldError[] {
  const errors: FieldError[] = [];
  const at = (name: string) => `${field}.${name}`;
  // Negative ones were always taken; deletion makes them 1.
  if (typeof spec.terminationGracePeriodSeconds !== 'number')
    errors.push(required(at('terminationGracePeriodSeconds')));
  const volumes = validateVolumes(spec.volumes, at('volumes'));
  const claimNames = new Set((spec.resourceClaims ?? []).map((claim) => claim.name));
  const pod = { spec, volumes: volumes.byName, claimNames };
  errors.push(
    ...volumes.errors,
    ...validateResourceClaims(spec.resourceClaims, at('resourceClaims')),
    ...validateContainers(pod, at('containers')),
    ...validateInitContainers(pod, at('initContainers')),
    ...validateEphemeralContainers(pod, at('ephemeralContainers')),
    ...validatePodResources(spec.resources, at('resources')),
    ...validateHostNetworkPorts(spec, at('containers'), ofPod),
    ...validateRestartPolicy(spec.restartPolicy, at('restartPolicy')),
    ...validateLabels(spec.nodeSelector, at('nodeSelector')),
    ...validatePodSecurityContext(spec, at('securityContext')),
    ...validateAffinity(spec.affinity, at('affinity')),
    ...validateDns(spec, field),
    ...validateGates(spec, field),
    ...validateTopologySpread(spec.topologySpreadConstraints, at('topologySpreadConstraints')),
    ...validateHostUsers(spec, field),
    ...validateNames(spec, field),
    ...validateTolerations(spec.tolerations, at('tolerations')),
    ...validateHostAliases(spec.hostAliases, at('hostAliases')),
  );
  const deadline = spec.activeDeadlineSeconds;
  if (typeof deadline === 'number' && (deadline < 1 || deadline > MAX_INT32))
    errors.push(invalid(at('activeDeadlineSeconds'), deadline, inclusiveRange(1, MAX_INT32)));
  if (spec.preemptionPolicy && !['PreemptLowerPriority', 'Never'].includes(spec.preemptionPolicy))
    errors.push(notSupported(at('preemptionPolicy'), spec.preemptionPolicy, ['PreemptLowerPriority', 'Never']));
  for (const [name, quantity] of Object.entries(spec.overhead ?? {}))
    errors.push(...validateQuantity(name, quantity, `${at('overhead')}[${name}]`));
  if (spec.os) errors.push(...validateOs(spec.os.name, at('os')));
  return errors;
}

function validateNames(spec: PodSpec, field: string): FieldError[] {
  const subdomains = ['serviceAccountName', 'nodeName', 'priorityClassName', 'runtimeClassName'] as const;
  return [
    ...subdomains.flatMap((name) =>
      spec[name] ? invalidFor(`${field}.${name}`, spec[name], subdomainName(spec[name])) : [],
    ),
    ...(['hostname', 'subdomain'] as const).flatMap((name) =>
      spec[name] ? invalidFor(`${field}.${name}`, spec[name], labelName(spec[name])) : [],
    ),
  ];
}

function validateRestartPolicy(policy: string | undefined, field: string): FieldError[] {
  if (!policy) return [required(field)];
  return RESTART_POLICIES.includes(policy) ? [] : [notSupported(field, policy, RESTART_POLICIES)];
}

/** Without a network of its own a container's port is the node's. */
function validateHostNetworkPorts(spec: PodSpec, field: string, ofPod: boolean): FieldError[] {
  if (!spec.hostNetwork) return [];
  return (spec.containers ?? []).flatMap((container, index) =>
    (container.ports ?? []).flatMap((port, position) => {
      const hostPort = port.hostPort ?? 0;
      return (ofPod || hostPort !== 0) && hostPort !== port.containerPort
        ? [
            invalid(
              `${field}[${index}].ports[${position}].hostPort`,
              hostPort,
              'must match `containerPort` when `hostNetwork` is true',
            ),
          ]
        : [];
    }),
  );
}

function validateOs(name: string, field: string): FieldError[] {
  if (!name) return [required(`${field}.name`, 'cannot be empty')];
  return ['linux', 'windows'].includes(name) ? [] : [notSupported(field, name, ['linux', 'windows'])];
}

/** More than templates: what only a real pod must keep. */
export function validatePodOnly(spec: PodSpec, field: string): FieldError[] {
  if (spec.serviceAccountName) return [];
  return (spec.volumes ?? []).flatMap((volume, index) =>
    (volume.projected?.sources ?? []).flatMap((source, position) =>
      source.serviceAccountToken
        ? [
            forbidden(
              `${field}.volumes[${index}].projected.sources[${position}].serviceAccountToken`,
              'must not be specified when serviceAccountName is not set',
            ),
          ]
        : [],
    ),
  );
}
