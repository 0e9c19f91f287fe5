import { isDeepStrictEqual } from 'node:util';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runAtOnce } from '../../src/runtime/slices.ts';
import { type Claims, createClaims, rankOf } from './claims.ts';
import { claimsOf, keepOwn, nodePortKey, PROCESSES } from './contenders.ts';
import { mergeEndpointSlices, portKey, SERVICE_NAME_LABEL } from './endpoints.ts';
import type { ProxySnapshot, ServicePort, ServiceState } from './model.ts';
import type { Problem } from './problem.ts';
import { buildServicePorts, type ExternalIpPolicy } from './service.ts';
import { SortedMap } from './sorted-map.ts';

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
  /** Of services (`ns/name`) that were looked at: what is wrong with each now; an empty list where nothing is any more. */
  problems: ReadonlyMap<string, readonly Problem[]>;
}

/** Folds Services and EndpointSlices into snapshots for one IP family. Purely in memory; told of events, in any order. */
export interface ChangeTracker {
  setService(service: Service): void;
  deleteService(key: string): void;
  setSlice(slice: EndpointSlice): void;
  deleteSlice(slice: EndpointSlice): void;
  /** Node ports (as `nodePortKey` names them) that Services ask for; the same object while they are the same. */
  nodePorts(): ReadonlySet<string>;
  /** Node ports that processes of the node listen on: no Service gets them. */
  setBusyNodePorts(keys: ReadonlySet<string>): void;
  pending(): PendingChanges;
  /** The state now, with what has changed since the last call. Objects of unchanged services are the same as before. */
  take(): TakenChanges;
  /** As take, in steps of a service. What is told between steps is for the next call; calls must not overlap. */
  takeSteps(): Generator<void, TakenChanges>;
}

export interface ChangeTrackerOptions {
  family: IpFamily;
  nodeName: string;
  /** Any external IP that a host can have, unless given. */
  externalIps?: ExternalIpPolicy;
}

/** Costs O(changed): what a Service asks for is compared with others' claims by key. */
export function createChangeTracker(options: ChangeTrackerOptions): ChangeTracker {
  const services = new Map<string, Service>();
  const slices = new Map<string, Map<string, EndpointSlice>>();
  const touchedServices = new Set<string>();
  const touchedEndpoints = new Set<string>();
  const triggers = new Map<string, number[]>();
  const claims: Claims = createClaims();
  /** With how many services ask for each. */
  const nodePorts = new Map<string, number>();
  let nodePortSet: ReadonlySet<string> | undefined;
  let current = SortedMap.empty<ServiceState>();
  /** Of touched services, between the two passes of `take`. */
  let read = new Map<string, { ports: ServicePort[]; problems: Problem[] }>();

  function countNodePorts(before: Service | undefined, now: Service | undefined): void {
    const [old, next] = [nodePortKeys(before), nodePortKeys(now)];
    if (old.join() === next.join()) return;
    for (const key of old)
      if (nodePorts.get(key) === 1) nodePorts.delete(key);
      else nodePorts.set(key, nodePorts.get(key)! - 1);
    for (const key of next) nodePorts.set(key, (nodePorts.get(key) ?? 0) + 1);
    nodePortSet = undefined;
  }

  /** First pass: what a Service wants, and who else has to be looked at for it. */
  function readService(name: string): Set<string> {
    const service = services.get(name);
    const problems: Problem[] = [];
    const ports = service
      ? buildServicePorts(service, { ...options, onProblem: (reason, message) => problems.push({ reason, message }) })
      : [];
    read.set(name, { ports, problems });
    return claims.set(name, service ? claimsOf(name, service, ports) : []);
  }

  /** Second pass, when all claims are known. */
  function buildState(name: string): { state: ServiceState | undefined; problems: Problem[] } {
    const { ports: wanted, problems } = read.get(name)!;
    if (wanted.length === 0) return { state: undefined, problems };
    const onProblem = (reason: Problem['reason'], message: string) => problems.push({ reason, message });
    const ports = keepOwn(name, wanted, claims.holder, onProblem);
    const ofService = [...(slices.get(name)?.values() ?? [])];
    const endpoints = mergeEndpointSlices(ofService, options.family, options.nodeName, onProblem);
    if (ports.length === 0) return { state: undefined, problems };
    const states = ports.map((port) => ({
      port,
      endpoints: endpoints.get(portKey(port.portName, port.protocol)) ?? [],
    }));
    return { state: { ports: states }, problems };
  }

  function* takeSteps(): Generator<void, TakenChanges> {
    // Grows while it is gone through: those that lose or gain something by a change are looked at too.
    const names = new Set([...touchedServices, ...touchedEndpoints]);
    const taken = new Map(triggers);
    // What is told from here on, while we pause, is for the next time.
    touchedServices.clear();
    touchedEndpoints.clear();
    triggers.clear();
    for (const name of names) {
      for (const other of readService(name)) if (other !== PROCESSES) names.add(other);
      yield;
    }
    const changes = new Map<string, ServiceState | undefined>();
    const problems = new Map<string, readonly Problem[]>();
    for (const name of names) {
      const { state, problems: found } = buildState(name);
      problems.set(name, found);
      if (!isDeepStrictEqual(current.get(name), state)) changes.set(name, state);
      yield;
    }
    read = new Map();
    if (changes.size > 0) current = current.with(changes);
    const dirty = new Set(changes.keys());
    const triggerTimesMs = [...taken].flatMap(([name, times]) => (dirty.has(name) ? times : []));
    return { snapshot: { family: options.family, services: current }, dirty, triggerTimesMs, problems };
  }

  return {
    setService(service) {
      const key = `${service.metadata.namespace}/${service.metadata.name}`;
      countNodePorts(services.get(key), service);
      services.set(key, service);
      touchedServices.add(key);
    },
    deleteService(key) {
      countNodePorts(services.get(key), undefined);
      services.delete(key);
      touchedServices.add(key);
    },
    setSlice(slice) {
      const owner = ownerOf(slice);
      // A slice of another family (or of names) never says anything to this one; its type cannot change.
      if (!owner || slice.addressType !== options.family) return;
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
    nodePorts() {
      nodePortSet ??= new Set(nodePorts.keys());
      return nodePortSet;
    },
    setBusyNodePorts(keys) {
      const busy = [...keys].map((key) => ({ key, rank: rankOf('process', '', PROCESSES) }));
      for (const owner of claims.set(PROCESSES, busy)) touchedServices.add(owner);
    },
    pending: () => ({ services: touchedServices.size, endpoints: touchedEndpoints.size }),
    take: () => runAtOnce(takeSteps()),
    takeSteps,
  };
}

function ownerOf({ metadata }: EndpointSlice): string | undefined {
  const service = metadata.labels?.[SERVICE_NAME_LABEL];
  return service ? `${metadata.namespace}/${service}` : undefined;
}

function nodePortKeys(service: Service | undefined): string[] {
  return (service?.spec.ports ?? []).flatMap(({ nodePort, protocol }) =>
    nodePort ? [nodePortKey(protocol ?? 'TCP', nodePort)] : [],
  );
}
