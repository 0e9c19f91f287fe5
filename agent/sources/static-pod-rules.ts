import type { Container, Pod, Probe } from '../../src/kube/types.ts';
import { findApiReferences } from './api-references.ts';

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
/** Letter somewhere, no hyphen at either end or doubled: a service name as IANA has it. */
const PORT_NAME = /^(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/;
const RESTART_POLICIES = ['Always', 'OnFailure', 'Never'];
const HANDLERS = ['exec', 'httpGet', 'tcpSocket', 'grpc'] as const;

type Report = (ok: unknown, field: string, problem: string) => void;

/**
 * What a pod from a manifest breaks of the rules that an API server would have held it to, as far as running it depends on them; plus the
 * one of its own that nothing of the API may be referred to. @returns `field: problem`, in the order of the spec; empty when it is fine.
 */
export function checkStaticPod(pod: Pod): string[] {
  const { metadata, spec } = pod;
  const problems: string[] = [];
  const report: Report = (ok, field, problem) => {
    if (!ok) problems.push(`${field}: ${problem}`);
  };
  const quoted = JSON.stringify;
  if (!metadata.name) report(false, 'metadata.name', 'required');
  else
    report(
      SUBDOMAIN.test(metadata.name) && metadata.name.length <= 253,
      'metadata.name',
      `${quoted(metadata.name)} is not a DNS subdomain name`,
    );
  if (metadata.namespace)
    report(LABEL.test(metadata.namespace), 'metadata.namespace', `${quoted(metadata.namespace)} is not a DNS label`);
  report(spec.containers?.length > 0, 'spec.containers', 'at least one is required');
  report(
    RESTART_POLICIES.includes(spec.restartPolicy ?? 'Always'),
    'spec.restartPolicy',
    `${quoted(spec.restartPolicy)} is not one of ${RESTART_POLICIES.join(', ')}`,
  );
  report(!spec.ephemeralContainers?.length, 'spec.ephemeralContainers', 'cannot be part of a manifest');
  const volumes = new Set<string>();
  for (const [index, { name }] of (spec.volumes ?? []).entries()) {
    report(LABEL.test(name ?? ''), `spec.volumes[${index}].name`, `${quoted(name)} is not a DNS label`);
    report(!volumes.has(name), `spec.volumes[${index}].name`, `${name} is used twice`);
    volumes.add(name);
  }
  const names = new Set<string>();
  for (const list of ['initContainers', 'containers'] as const)
    for (const [index, container] of (spec[list] ?? []).entries()) {
      const field = `spec.${list}[${index}]`;
      report(LABEL.test(container.name ?? ''), `${field}.name`, `${quoted(container.name)} is not a DNS label`);
      report(!names.has(container.name), `${field}.name`, `${container.name} is used twice`);
      names.add(container.name);
      checkContainer(container, field, volumes, report);
    }
  for (const { field, resource } of findApiReferences(pod))
    report(false, field, `static pods may not reference ${resource}`);
  return problems;
}

function checkContainer(container: Container, field: string, volumes: ReadonlySet<string>, report: Report): void {
  report(container.image, `${field}.image`, 'required');
  for (const [index, { containerPort, hostPort, name }] of (container.ports ?? []).entries()) {
    const isPort = (port: number | undefined) => port !== undefined && port >= 1 && port <= 65535;
    report(
      isPort(containerPort),
      `${field}.ports[${index}].containerPort`,
      `${containerPort ?? '(none)'} is not a port from 1 to 65535`,
    );
    report(
      hostPort === undefined || isPort(hostPort),
      `${field}.ports[${index}].hostPort`,
      `${hostPort} is not a port from 1 to 65535`,
    );
    if (name)
      report(PORT_NAME.test(name), `${field}.ports[${index}].name`, `${JSON.stringify(name)} is not a port name`);
  }
  const paths = new Set<string>();
  for (const [index, { name, mountPath }] of (container.volumeMounts ?? []).entries()) {
    report(volumes.has(name), `${field}.volumeMounts[${index}].name`, `no volume ${JSON.stringify(name ?? '')}`);
    report(mountPath, `${field}.volumeMounts[${index}].mountPath`, 'required');
    report(!paths.has(mountPath), `${field}.volumeMounts[${index}].mountPath`, `${mountPath} is used twice`);
    paths.add(mountPath);
  }
  for (const [index, { name }] of (container.env ?? []).entries())
    report(name, `${field}.env[${index}].name`, 'required');
  for (const type of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const)
    if (container[type]) checkProbe(container[type], `${field}.${type}`, type, report);
}

function checkProbe(probe: Probe, field: string, type: string, report: Report): void {
  const handlers = HANDLERS.filter((handler) => probe[handler]);
  report(handlers.length === 1, field, `one handler of ${HANDLERS.join(', ')} is required, found ${handlers.length}`);
  for (const name of [
    'initialDelaySeconds',
    'periodSeconds',
    'timeoutSeconds',
    'successThreshold',
    'failureThreshold',
  ] as const)
    report((probe[name] ?? 0) >= 0, `${field}.${name}`, `${probe[name]} is less than 0`);
  if (type !== 'readinessProbe')
    report((probe.successThreshold ?? 1) <= 1, `${field}.successThreshold`, `${probe.successThreshold} is not 1`);
}
