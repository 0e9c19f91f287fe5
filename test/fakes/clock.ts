import type { Clock } from '../../src/runtime/clock.ts';

export interface FakeClock extends Clock {
  /** Moves time on, firing what falls due in order, and lets promises settle after each. */
  advance(ms: number): Promise<void>;
  /** Timers that wait. */
  pending(): number;
  /** Sets the wall clock so much further, or back; the monotonic one does not notice. */
  step(ms: number): void;
}

/** A clock that stands still until told; `nowMs` and `monotonicMs` move together, but for `step`. */
export function createFakeClock(startMs = Date.UTC(2026, 0, 1)): FakeClock {
  let elapsedMs = 0;
  let steppedMs = 0;
  let nextId = 0;
  const timers = new Map<number, { dueMs: number; fire: () => void }>();

  const clock: FakeClock = {
    nowMs: () => startMs + elapsedMs + steppedMs,
    monotonicMs: () => elapsedMs,
    after(ms, fire) {
      const id = nextId++;
      timers.set(id, { dueMs: elapsedMs + Math.max(0, ms), fire });
      return () => {
        timers.delete(id);
      };
    },
    sleep(ms, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const onAbort = () => {
          cancel();
          reject(signal?.reason);
        };
        const cancel = clock.after(ms, () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        });
        signal?.addEventListener('abort', onAbort, { once: true });
      });
    },
    async advance(ms) {
      const endMs = elapsedMs + ms;
      await settle();
      for (;;) {
        const due = [...timers].filter(([, timer]) => timer.dueMs <= endMs).sort((a, b) => a[1].dueMs - b[1].dueMs)[0];
        if (!due) break;
        timers.delete(due[0]);
        elapsedMs = Math.max(elapsedMs, due[1].dueMs);
        due[1].fire();
        await settle();
      }
      elapsedMs = endMs;
    },
    pending: () => timers.size,
    step(ms) {
      steppedMs += ms;
    },
  };
  return clock;
}

/** A file operation that takes this long is one that waits for somebody, as a read of an empty FIFO does. */
const STUCK_MS = 2000;

/** Lets promise chains, immediates and file operations run out; what comes over sockets is for `eventually` to wait for. */
export async function settle(rounds = 5): Promise<void> {
  const stuckMs = performance.now() + STUCK_MS;
  for (let round = 0; round < rounds; round++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (usesFiles() && performance.now() < stuckMs) round = -1;
  }
}

/** The kernel's own time is nobody's to drive: what waits for it has to be waited for. */
const usesFiles = () => process.getActiveResourcesInfo().some((what) => /^(FSReq|CloseReq)/.test(what));
