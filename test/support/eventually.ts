import { setTimeout as sleep } from 'node:timers/promises';

/** No test waits for as long as this, however slow the machine is: it only ends a wait for what never comes. */
const NEVER_MS = 60_000;

/**
 * Waits until `condition` holds, looking every few milliseconds at first and less often later; throws `what` when it never does.
 * How long it takes is nothing that a test may say: the machine may be busy with something else.
 */
export async function eventually(
  what: string,
  condition: () => boolean | undefined | Promise<boolean | undefined>,
): Promise<void> {
  const deadlineMs = performance.now() + NEVER_MS;
  for (let pauseMs = 2; !(await condition()); pauseMs = Math.min(pauseMs * 1.2, 50)) {
    if (performance.now() > deadlineMs) throw new Error(`not reached: ${what}`);
    await sleep(pauseMs);
  }
}
