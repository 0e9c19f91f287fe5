import type { Container, Pod, Probe } from '../../src/kube/types.ts';
import { isSidecar } from '../containers/restart.ts';

export type ProbeType = 'startup' | 'liveness' | 'readiness';

/** A probe with its defaults filled in (static pods have no API server that would). */
export interface ProbeSettings {
  probe: Probe;
  initialDelayMs: number;
  periodMs: number;
  timeoutMs: number;
  successThreshold: number;
  failureThreshold: number;
}

const FIELDS = { startup: 'startupProbe', liveness: 'livenessProbe', readiness: 'readinessProbe' } as const;

export const PROBE_TYPES = Object.keys(FIELDS) as ProbeType[];

/** The container's probe of a type; undefined when it has none. */
export function probeSettings(container: Container, type: ProbeType): ProbeSettings | undefined {
  const probe = container[FIELDS[type]];
  if (!probe) return undefined;
  return {
    probe,
    initialDelayMs: Math.max(0, probe.initialDelaySeconds ?? 0) * 1000,
    periodMs: Math.max(1, probe.periodSeconds ?? 10) * 1000,
    timeoutMs: Math.max(1, probe.timeoutSeconds ?? 1) * 1000,
    successThreshold: Math.max(1, probe.successThreshold ?? 1),
    failureThreshold: Math.max(1, probe.failureThreshold ?? 3),
  };
}

/** Containers that may have probes: regular ones and sidecars. */
export function probedContainers(pod: Pod): Container[] {
  return [...(pod.spec.initContainers ?? []).filter(isSidecar), ...pod.spec.containers];
}

/** A port number, or the number of the container's port of that name. Throws when there is none. */
export function resolvePort(port: number | string | undefined, container: Container): number {
  const number =
    typeof port === 'string' && !/^\d+$/.test(port)
      ? container.ports?.find(({ name }) => name === port)?.containerPort
      : Number(port);
  if (number === undefined) throw new Error(`couldn't find port: ${port} in container ${container.name}`);
  if (!Number.isInteger(number) || number < 1 || number > 65535) throw new Error(`invalid port number: ${number}`);
  return number;
}

/** For events: `spec.containers{app}`. */
export function fieldPathOf(pod: Pod, container: Container): string {
  const list = pod.spec.containers.some(({ name }) => name === container.name) ? 'containers' : 'initContainers';
  return `spec.${list}{${container.name}}`;
}
