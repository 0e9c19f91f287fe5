import { type Age, createAge } from '../../src/runtime/age.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { EventSink, StatusManager } from './ports.ts';
import { ownGraceSeconds, type PodWork, requestTermination } from './work.ts';

export interface Deadlines {
  /** Milliseconds until activeDeadlineSeconds is over; 0 or less when it is; undefined without one. */
  untilMs(work: PodWork): number | undefined;
  /** The pod has had its time: Failed, whatever it does now. */
  fail(work: PodWork): void;
  /** Fails the pod when its time is over, whatever a pass is waiting for then; the returned function takes that back. */
  arm(work: PodWork): () => void;
}

/** spec.activeDeadlineSeconds, which counts from status.startTime and may come, or become shorter, while the pod runs. */
export function createDeadlines(deps: {
  status: Pick<StatusManager, 'get'>;
  events: EventSink;
  clock: Clock;
}): Deadlines {
  const { status, events, clock } = deps;
  /** How long each pod has been active, whatever happens to the wall clock meanwhile. */
  const ages = new WeakMap<PodWork, Age>();

  const deadlines: Deadlines = {
    untilMs(work) {
      const { activeDeadlineSeconds } = work.pod.spec;
      const startTime = (status.get(work.uid) ?? work.pod.status)?.startTime;
      if (activeDeadlineSeconds === undefined || !startTime) return undefined;
      const age = ages.get(work) ?? createAge(clock);
      ages.set(work, age);
      return activeDeadlineSeconds * 1000 - age(Date.parse(startTime));
    },
    fail(work) {
      const message = 'Pod was active on the node longer than the specified deadline';
      work.override = { phase: 'Failed', reason: 'DeadlineExceeded', message, wasAdmitted: true };
      events.event(work.pod, 'Normal', 'DeadlineExceeded', message);
      requestTermination(work, ownGraceSeconds(work.pod));
    },
    arm(work) {
      const leftMs = deadlines.untilMs(work);
      return leftMs === undefined ? () => {} : clock.after(Math.max(0, leftMs), () => deadlines.fail(work));
    },
  };
  return deadlines;
}
