import type { ProbeResult, ProbeResults } from '../pods/ports.ts';
import type { ProbeType } from './settings.ts';

export interface ResultStore extends ProbeResults {
  get(type: ProbeType, containerId: string): ProbeResult | undefined;
  /** Tells the listeners when it differs from what was published. undefined: nothing is known (any more). */
  publish(type: ProbeType, containerId: string, result: ProbeResult | undefined, uid: string): void;
  /** The value before the first result of a new container: what readers assume anyway, so nobody is told. */
  begin(type: ProbeType, containerId: string, result: ProbeResult | undefined): void;
  /** Forgets a result without telling anybody. */
  remove(type: ProbeType, containerId: string): void;
}

/** Published probe results by container: what status and plans read. */
export function createResultStore(): ResultStore {
  const results: Record<ProbeType, Map<string, ProbeResult>> = {
    startup: new Map(),
    liveness: new Map(),
    readiness: new Map(),
  };
  const set = (type: ProbeType, containerId: string, result: ProbeResult | undefined) => {
    if (result === undefined) results[type].delete(containerId);
    else results[type].set(containerId, result);
  };
  const listeners = new Set<(uid: string) => void>();
  const get = (type: ProbeType, containerId: string) => results[type].get(containerId);
  return {
    get,
    startup: (containerId) => get('startup', containerId),
    liveness: (containerId) => get('liveness', containerId),
    readiness: (containerId) => get('readiness', containerId),
    publish(type, containerId, result, uid) {
      if (get(type, containerId) === result) return;
      set(type, containerId, result);
      for (const listener of listeners) listener(uid);
    },
    begin: set,
    remove: (type, containerId) => void results[type].delete(containerId),
    onChange(handler) {
      listeners.add(handler);
      return () => listeners.delete(handler);
    },
  };
}
