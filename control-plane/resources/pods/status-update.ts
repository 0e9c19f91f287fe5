import type { ContainerStatus, Pod } from '../../../src/kube/types.ts';
import { duplicate, type FieldError, forbidden, invalid } from '../../apiserver/field-error.ts';
import { labelKeyProblems } from '../../apiserver/labels.ts';
import { subdomainName } from '../../apiserver/names.ts';
import { validateImmutable } from '../labels.ts';
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
  const sidecars = new Set(
    (old.spec.initContainers ?? []).filter((one) => one.restartPolicy === 'Always').map((one) => one.name),
  );
  const list = (name: 'containerStatuses' | 'initContainerStatuses' | 'ephemeralContainerStatuses') => ({
    now: status[name] ?? [],
    before: before[name] ?? [],
    field: `status.${name}`,
  });
  const policy = old.spec.restartPolicy ?? 'Always';
  errors.push(
    ...validateTransitions(list('containerStatuses'), policy, new Set()),
    ...validateTransitions(list('initContainerStatuses'), policy, sidecars),
    ...validateTransitions(list('ephemeralContainerStatuses'), 'Never', new Set()),
    ...validateAddresses(status.podIPs, 'status.podIPs'),
    ...validateAddresses(status.hostIPs, 'status.hostIPs'),
  );
  const hostIp = status.hostIPs?.[0]?.ip;
  if (hostIp !== undefined && hostIp !== status.hostIP)
    errors.push(invalid('status.hostIPs[0].ip', hostIp, 'must be equal to `hostIP`'));
  return errors;
}

function validateTransitions(
  statuses: { now: readonly ContainerStatus[]; before: readonly ContainerStatus[]; field: string },
  restartPolicy: string,
  mayRestart: ReadonlySet<string>,
): FieldError[] {
  if (restartPolicy === 'Always') return [];
  return statuses.before.flatMap((old, index) => {
    const ended = old.state?.terminated;
    if (!ended || mayRestart.has(old.name)) return [];
    if (ended.exitCode !== 0 && restartPolicy === 'OnFailure') return [];
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
