/** When an unchanged status is sent again. */
export interface ReportSchedule {
  isDue(nowMs: number): boolean;
  /** A status was sent; `changed`: because something in it did. */
  sent(nowMs: number, changed: boolean): void;
}

/**
 * nodeStatusReportFrequency, as upstream spreads it: after a change (and after the start) the next report comes up to half an interval earlier or
 * later, once, so that nodes that changed together do not report together for ever.
 *
 * @param random in [0, 1)
 */
export function createReportSchedule(intervalMs: number, random: () => number): ReportSchedule {
  let dueMs = Number.NEGATIVE_INFINITY;
  return {
    isDue: (nowMs) => nowMs >= dueMs,
    sent(nowMs, changed) {
      const isFirst = dueMs === Number.NEGATIVE_INFINITY;
      dueMs = nowMs + intervalMs + (changed || isFirst ? intervalMs * (random() - 0.5) : 0);
    },
  };
}
