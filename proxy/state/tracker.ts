import { isDeepStrictEqual } from 'node:util';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { mergeEndpointSlices, portKey, SERVICE_NAME_LABEL } from './endpoints.ts';
import type { ProxySnapshot, ServiceState } from './model.ts';
import { buildServicePorts } from './service.ts';

/** Set by the controller on a slice: when the first change that led to it happened. */
const TRIGGER_TIME_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time';

/** What has happened since the last `take()`. */
export interface PendingChanges {
  services: number;
  endpoints: number;
}

export interface TakenChanges {
  snapshot: ProxySnapshot;
  /** Services (`ns/name`) whose state differs from the snapshot taken before, and those that are gone. */
  dirty: ReadonlySet<string>;
  /** Wall time, milliseconds, of the changes behind the dirty services' slices. */
  triggerTimesMs: readonly number[];
}

/** Folds Services and EndpointSlices into snapshots for one IP family. Purely in memory; told of events, in any order. */
export interface ChangeTracker {
  setService(service: Service): void;
  deleteService(key: string): void;
  setSlice(slice: EndpointSlice): void;
  deleteSlice(slice: EndpointSlice): void;
  pending(): PendingChanges;
  /** The state now, with what has changed since the last call. Objects of unchanged services are the same as before. */
  take(): TakenChanges;
}

export function createChangeTracker(options: { family: IpFamily; nodeName: string }): ChangeTracker {
  const services = new Map<string, Service>();
  const slices = new Map<string, Map<string, EndpointSlice>>();
  const touchedServices = new Set<string>();
  const touchedEndpoints = new Set<string>();
  const triggers = new Map<string, number[]>();
  let current: Map<string, ServiceState> = new Map();

  function buildState(name: string): ServiceState | undefined {
    const service = services.get(name);
    const ports = service ? buildServicePorts(service, options.family) : [];
    if (ports.length === 0) return undefined;
    const endpoints = mergeEndpointSlices([...(slices.get(name)?.values() ?? [])], options.family, options.nodeName);
    return {
      ports: ports.map((port) => ({ port, endpoints: endpoints.get(portKey(port.portName, port.protocol)) ?? [] })),
    };
  }

  return {
    setService(service) {
      const key = `${service.metadata.namespace}/${service.metadata.name}`;
      services.set(key, service);
      touchedServices.add(key);
    },
    deleteService(key) {
      services.delete(key);
      touchedServices.add(key);
    },
    setSlice(slice) {
      const owner = ownerOf(slice);
      if (!owner) return;
      const ofService = slices.get(owner) ?? new Map<string, EndpointSlice>();
      slices.set(owner, ofService.set(slice.metadata.name, slice));
      touchedEndpoints.add(owner);
      const trigger = Date.parse(slice.metadata.annotations?.[TRIGGER_TIME_ANNOTATION] ?? '');
      if (!Number.isNaN(trigger)) triggers.set(owner, [...(triggers.get(owner) ?? []), trigger]);
    },
    deleteSlice(slice) {
      const owner = ownerOf(slice);
      const ofService = owner && slices.get(owner);
      if (!ofService) return;
      ofService.delete(slice.metadata.name);
      if (ofService.size === 0) slices.delete(owner);
      touchedEndpoints.add(owner);
      // Without the slice nobody can tell any more when the change began.
      triggers.delete(owner);
    },
    pending: () => ({ services: touchedServices.size, endpoints: touchedEndpoints.size }),
    take() {
      const dirty = new Set<string>();
      const next = new Map(current);
      let grew = false;
      for (const name of new Set([...touchedServices, ...touchedEndpoints])) {
        const before = current.get(name);
        const now = buildState(name);
        if (isDeepStrictEqual(before, now)) continue;
        dirty.add(name);
        grew ||= before === undefined;
        if (now) next.set(name, now);
        else next.delete(name);
      }
      const triggerTimesMs = [...triggers].flatMap(([name, times]) => (dirty.has(name) ? times : []));
      touchedServices.clear();
      touchedEndpoints.clear();
      triggers.clear();
      if (dirty.size > 0) current = grew ? new Map([...next].sort(([a], [b]) => (a < b ? -1 : 1))) : next;
      return { snapshot: { family: options.family, services: current }, dirty, triggerTimesMs };
    },
  };
}

function ownerOf({ metadata }: EndpointSlice): string | undefined {
  const service = metadata.labels?.[SERVICE_NAME_LABEL];
  return service ? `${metadata.namespace}/${service}` : undefined;
}
