import type { Logger } from '../src/runtime/log.ts';
import { nodePortKey } from './state/contenders.ts';

/**
 * Finds processes of the node that listen on node ports: rules would take their clients away from them. Looked at when a Service asks for
 * a node port that no Service had before, and again and again while one is busy; a process that comes later finds the port taken, as ever.
 */
export interface NodePortGuard {
  /** @param wanted node ports that Services ask for, as `nodePortKey` names them. @returns those that are busy */
  look(wanted: ReadonlySet<string>): Promise<ReadonlySet<string>>;
  hasBusy(): boolean;
}

export interface NodePortGuardOptions {
  listeningPorts(protocol: 'TCP' | 'UDP'): Promise<ReadonlySet<number>>;
  log: Logger;
}

export function createNodePortGuard({ listeningPorts, log }: NodePortGuardOptions): NodePortGuard {
  let free: ReadonlySet<string> = new Set();
  let busy: ReadonlySet<string> = new Set();
  let last: ReadonlySet<string> | undefined;
  return {
    hasBusy: () => busy.size > 0,
    async look(wanted) {
      if (wanted === last && busy.size === 0) return busy;
      last = wanted;
      const isSettled = busy.size === 0 && [...wanted].every((key) => free.has(key));
      if (!isSettled)
        try {
          const taken = new Set<string>();
          for (const protocol of ['TCP', 'UDP'] as const)
            for (const port of await listeningPorts(protocol)) taken.add(nodePortKey(protocol, port));
          // What was free when it was first wanted is the Service's.
          busy = new Set([...wanted].filter((key) => taken.has(key) && !free.has(key)));
        } catch (error) {
          log.warn({ err: error }, 'cannot look for processes that listen on node ports');
        }
      free = new Set([...wanted].filter((key) => !busy.has(key)));
      return busy;
    },
  };
}
