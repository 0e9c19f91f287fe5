import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until `condition` holds, looking every few milliseconds; throws `what` when it does not in time. */
export async function eventually(
  what: string,
  condition: () => boolean | undefined | Promise<boolean | undefined>,
  timeoutMs = 3000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not reached: ${what}`);
    await sleep(2);
  }
}
