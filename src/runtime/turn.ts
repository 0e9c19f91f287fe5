/**
 * Work that never waits never lets the event loop turn: a hundred pods whose requests the kernel answers at once would be one piece of a
 * hundred milliseconds. So what has an answer at hand asks here whether the turn has room for it.
 */
const TURN_MS = 5;

let startedMs: number | undefined;
const postponed: (() => void)[] = [];

/** Whether this turn of the event loop has used up its time since it was first asked. */
export function isTurnSpent(): boolean {
  const nowMs = performance.now();
  if (startedMs === undefined) {
    startedMs = nowMs;
    setImmediate(nextTurn);
  }
  return nowMs - startedMs >= TURN_MS;
}

/** Calls `work` now, or in one of the next turns when this one's time is used up: one of those that wait begins each turn. */
export function whenTurnAllows(work: () => void): void {
  if (isTurnSpent()) postponed.push(work);
  else work();
}

/** Resolves at once, or in one of the next turns when this one's time is used up. */
export function untilTurnAllows(): Promise<void> {
  return new Promise(whenTurnAllows);
}

function nextTurn(): void {
  startedMs = undefined;
  const work = postponed.shift();
  if (!work) return;
  // The clock starts with it, and the turn after this one is sure to come.
  isTurnSpent();
  work();
}
