import { watchLinks } from '../../src/linux/netlink/link-monitor.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

const FIRST_MS = 1_000;
const LAST_MS = 30_000;
/** Whoever deletes the device again within this time is somebody to keep out of the way of. */
const QUIET_MS = 60_000;

/**
 * Has a device that somebody deletes made anew: after a second, then less and less often (up to 30 s), as flanneld does. Lives until the
 * signal aborts.
 * @param what.recreate is called again, later, when it throws; answers how many entries it wrote, undefined when all was in order already.
 */
export function recreateWhenDeleted(
  what: {
    /** For the log: `VXLAN`. */
    kind: string;
    hostNetns: string | undefined;
    log: Logger;
    /** By name, too: a device may go before anybody has read its index. */
    isOurs(linkIndex: number, name: string): boolean;
    onDeleted(): void;
    recreate(): Promise<number | undefined>;
  },
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  let delayMs = FIRST_MS;
  let lastDeletionMs = Number.NEGATIVE_INFINITY;
  let cancel: (() => void) | undefined;

  function later(): void {
    if (cancel || signal.aborted) return;
    cancel = clock.after(delayMs, () => {
      cancel = undefined;
      what.recreate().then(
        (changed) => {
          if (changed !== undefined) what.log.warn({ changed }, `somebody deleted the ${what.kind} device: made anew`);
        },
        (error) => {
          what.log.error({ err: error }, `the ${what.kind} device could not be made anew; trying again`);
          later();
        },
      );
    });
    delayMs = Math.min(delayMs * 2, LAST_MS);
  }

  const stop = watchLinks({
    ...(what.hostNetns !== undefined && { netns: what.hostNetns }),
    onChange(kind, { index, name }) {
      if (kind !== 'deleted' || !what.isOurs(index, name)) return;
      const nowMs = clock.monotonicMs();
      if (nowMs - lastDeletionMs > QUIET_MS) delayMs = FIRST_MS;
      lastDeletionMs = nowMs;
      what.onDeleted();
      later();
    },
  });
  return new Promise((resolve) => {
    const end = () => {
      cancel?.();
      stop();
      resolve();
    };
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}
