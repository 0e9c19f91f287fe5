import type { Container, ContainerStatus, Pod, PodSpec } from '../../../src/kube/types.ts';
import { duplicate, type FieldError, forbidden, invalid } from '../../apiserver/field-error.ts';
import { labelKeyProblems } from '../../apiserver/labels.ts';
import { subdomainName } from '../../apiserver/names.ts';
import { validateImmutable } from '../labels.ts';
import { mayRestart, mayRestartAll } from '../pod-spec/restart-rules.ts';
import { invalidFor, ipProblems } from '../values.ts';

const SYSTEM_CONDITIONS = new Set(['PodScheduled', 'Ready', 'Initialized']);

/** What a status write may not do: undo what has ended, invent addresses, move the pod. */
export function validatePodStatusUpdate(pod: Pod, old: Pod): FieldError[] {
  const status = pod.status ?? {};
  const before = old.status ?? {};
  const errors: FieldError[] = (status.conditions ?? []).flatMap(({ type }, index) =>
    SYSTEM_CONDITIONS.has(type) ? [] : invalidFor(`metadata.conditions[${index}].Type`, type, labelKeyProblems(type)),
  );
  if (pod.spec.nodeName !== old.spec.nodeName) errors.push(forbidden('status.nodeName', 'may not be changed directly'));
  const nominated = status.nominatedNodeName;
  if (nominated && nominated !== before.nominatedNodeName)
    errors.push(...invalidFor('status.nominatedNodeName', nominated, subdomainName(nominated)));
  errors.push(...validateImmutable(status.qosClass, before.qosClass, 'status.qosClass'));
  const list = (name: 'containerStatuses' | 'initContainerStatuses' | 'ephemeralContainerStatuses') => ({
    now: status[name] ?? [],
    before: before[name] ?? [],
    field: `status.${name}`,
  });
  const { containers, initContainers } = old.spec;
  errors.push(
    ...validateTransitions(list('containerStatuses'), old.spec, containers),
    ...validateTransitions(list('initContainerStatuses'), old.spec, initContainers ?? []),
    ...validateTransitions(list('ephemeralContainerStatuses'), old.spec, undefined),
    ...validateAddresses(status.podIPs, 'status.podIPs'),
    ...validateAddresses(status.hostIPs, 'status.hostIPs'),
  );
  const hostIp = status.hostIPs?.[0]?.ip;
  if (hostIp !== undefined && hostIp !== status.hostIP)
    errors.push(invalid('status.hostIPs[0].ip', hostIp, 'must be equal to `hostIP`'));
  return errors;
}

/** `containers` undefined: of the sort that never runs again. */
function validateTransitions(
  statuses: { now: readonly ContainerStatus[]; before: readonly ContainerStatus[]; field: string },
  spec: PodSpec,
  containers: readonly Container[] | undefined,
): FieldError[] {
  if (containers && (spec.restartPolicy === 'Always' || mayRestartAll(spec))) return [];
  return statuses.before.flatMap((old, index) => {
    const ended = old.state?.terminated;
    if (!ended) return [];
    const container = containers?.find(({ name }) => name === old.name);
    if (containers && mayRestart(spec, container, ended.exitCode)) return [];
    const now = statuses.now.find((one) => one.name === old.name);
    return now && !now.state?.terminated
      ? [forbidden(`${statuses.field}[${index}].state`, 'may not be transitioned to non-terminated state')]
      : [];
  });
}

function validateAddresses(addresses: readonly { ip: string }[] | undefined, field: string): FieldError[] {
  if (!addresses) return [];
  const errors = addresses.flatMap(({ ip }, index) => invalidFor(`${field}[${index}]`, ip, ipProblems(ip ?? '')));
  const families = addresses.map(({ ip }) => (ip?.includes(':') ? 'IPv6' : 'IPv4'));
  if (new Set(families).size < addresses.length) {
    errors.push(invalid(field, addresses, 'may specify no more than one IP for each IP family'));
    addresses.forEach((address, index) => {
      if (addresses.slice(0, index).some(({ ip }) => ip === address.ip))
        errors.push(duplicate(`${field}[${index}]`, address));
    });
  }
  return errors;
}
