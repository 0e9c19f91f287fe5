import type { Pod } from '../../src/kube/types.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { podKey } from '../containers/identity.ts';
import { ADMISSION_STAGES, type AdmitHandler, type AdmitHandlers, type Rejection } from './admission-ports.ts';

export interface AdmissionChainDependencies {
  log: Logger;
}

/** All who decide on a pod, in the order of their stages. */
export interface AdmissionChain {
  /** The first rejection; whoever had admitted the pod before has it given back. Rejects only when the signal ends. */
  admit(pod: Pod, others: readonly Pod[], signal: AbortSignal): Promise<Rejection | undefined>;
  /** The pod runs already; nobody can refuse it. Never rejects. */
  readmit(pod: Pod): Promise<void>;
  release(uid: string): void;
  retain(uids: ReadonlySet<string>): void;
}

export function createAdmissionChain(stages: AdmitHandlers, deps: AdmissionChainDependencies): AdmissionChain {
  const { log } = deps;
  const handlers = ADMISSION_STAGES.flatMap((stage) => stages[stage] ?? []);

  /** One that cannot give back must not keep the others from it. */
  function giveBack(some: readonly AdmitHandler[], what: (handler: AdmitHandler) => void): void {
    for (const handler of some.toReversed())
      try {
        what(handler);
      } catch (error) {
        log.warn({ handler: handler.name, err: error }, 'an admission handler could not give back what a pod held');
      }
  }

  return {
    async admit(pod, others, signal) {
      for (const [index, handler] of handlers.entries()) {
        let rejection: Rejection | undefined;
        try {
          rejection = await handler.admit(pod, others, signal);
          signal.throwIfAborted();
        } catch (error) {
          if (!signal.aborted) rejection = unexpected(error);
          else {
            giveBack(handlers.slice(0, index + 1), (one) => one.release?.(pod.metadata.uid));
            throw error;
          }
        }
        if (!rejection) continue;
        giveBack(handlers.slice(0, index + 1), (one) => one.release?.(pod.metadata.uid));
        return rejection;
      }
      return undefined;
    },
    async readmit(pod) {
      for (const handler of handlers)
        try {
          await handler.readmit?.(pod);
        } catch (error) {
          log.warn({ pod: podKey(pod), handler: handler.name, err: error }, 'a running pod could not be taken over');
        }
    },
    release: (uid) => giveBack(handlers, (handler) => handler.release?.(uid)),
    retain: (uids) => giveBack(handlers, (handler) => handler.retain?.(uids)),
  };
}

/** Upstream's words for what no handler foresees. */
function unexpected(error: unknown): Rejection {
  const message = error instanceof Error ? error.message : String(error);
  return { reason: 'UnexpectedAdmissionError', message: `Allocate failed due to ${message}, which is unexpected` };
}
