import type { Clock } from '../../src/runtime/clock.ts';

/** How far a pod is: whoever is nearer to running goes first, so that pods get ready one after another and not all at the end. */
export type StartPriority = 'sandbox' | 'container';

export interface StartSlots {
  /** Runs the call when a slot is free. */
  run<T>(priority: StartPriority, call: () => Promise<T>): Promise<T>;
}

/** A call that takes longer than this hangs rather than works (a dead volume server): it waits on without a slot, and holds up no other pod. */
const LONGEST_HOLD_MS = 10_000;

/**
 * Bounds how many create and start calls the Engine works on at once: beyond a few per core they only get in each other's
 * way (30 pods at 30 at once took half as long again as at 4 or 8). A slot is held for one call, never across a pull or a hook.
 */
export function createStartSlots(count: number, clock: Clock): StartSlots {
  let free = count;
  const waiting: Record<StartPriority, (() => void)[]> = { container: [], sandbox: [] };

  function release() {
    const next = waiting.container.shift() ?? waiting.sandbox.shift();
    if (next) next();
    else free++;
  }

  return {
    async run(priority, call) {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => waiting[priority].push(resolve));
      let isHeld = true;
      const giveBack = () => {
        if (isHeld) release();
        isHeld = false;
      };
      const cancel = clock.after(LONGEST_HOLD_MS, giveBack);
      try {
        return await call();
      } finally {
        cancel();
        giveBack();
      }
    },
  };
}
