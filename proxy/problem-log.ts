import type { ObjectReference } from '../src/kube/types.ts';
import type { IpFamily } from '../src/netfilter/tables.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { Problem, ProblemReason } from './state/problem.ts';

/** Tells people what is left out and why: each problem once, by a log line and an event, for as long as it lasts by a metric. */
export interface ProblemLog {
  /** What is wrong with each service now, of those that were looked at. */
  update(family: IpFamily, problems: ReadonlyMap<string, readonly Problem[]>): void;
}

export interface ProblemLogOptions {
  log: Logger;
  warn(about: ObjectReference, reason: string, message: string): void;
  /** Problems of a reason that last, over all services. */
  setCount(family: IpFamily, reason: ProblemReason, count: number): void;
}

/** A broken object with thousands of wrong entries is told about with so many of them. */
const TOLD_AT_ONCE = 5;

export function createProblemLog({ log, warn, setCount }: ProblemLogOptions): ProblemLog {
  /** By family and service: the messages, which the next look is compared with. */
  const known = new Map<IpFamily, Map<string, readonly Problem[]>>();
  const counts = new Map<IpFamily, Map<ProblemReason, number>>();

  const isKnown = (service: string, { message }: Problem) =>
    [...known.values()].some((ofFamily) => ofFamily.get(service)?.some((other) => other.message === message));

  return {
    update(family, problems) {
      const ofFamily = known.get(family) ?? new Map<string, readonly Problem[]>();
      known.set(family, ofFamily);
      const ofReason = counts.get(family) ?? new Map<ProblemReason, number>();
      counts.set(family, ofReason);
      for (const [service, now] of problems) {
        const before = ofFamily.get(service) ?? [];
        if (before.length === 0 && now.length === 0) continue;
        // The other family may have told the same already.
        const fresh = now.filter((problem) => !isKnown(service, problem));
        for (const problem of fresh.slice(0, TOLD_AT_ONCE)) tell(service, problem, fresh.length - TOLD_AT_ONCE);
        for (const { reason } of before) ofReason.set(reason, (ofReason.get(reason) ?? 0) - 1);
        for (const { reason } of now) ofReason.set(reason, (ofReason.get(reason) ?? 0) + 1);
        if (now.length > 0) ofFamily.set(service, now);
        else ofFamily.delete(service);
      }
      for (const [reason, count] of ofReason) setCount(family, reason, count);
    },
  };

  function tell(service: string, { reason, message }: Problem, more: number): void {
    const [namespace, name] = service.split('/') as [string, string];
    const text = more > 0 ? `${message} (and ${more} more)` : message;
    log.warn({ service, reason }, `a part of the service is left out: ${text}`);
    warn({ apiVersion: 'v1', kind: 'Service', namespace, name }, reason, text);
  }
}
