import { openBus } from '../../src/dbus/bus.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { FIREWALLD_NAME, FIREWALLD_PATH, SYSTEM_BUS } from './firewalld.ts';

const RETRY_MS = 30_000;

/**
 * Tells when firewalld has started or reloaded: what was added to its running configuration is gone then. Lives until the signal aborts; a
 * host without a bus is looked at again now and then.
 * Anybody on the bus may send such signals: whoever acts on them sees to it that many of them are not much work.
 */
export async function followFirewalld(
  options: { busAddress?: string; onChange(): void },
  { clock }: { clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await followOnce(options, signal).catch(() => {});
    await clock.sleep(RETRY_MS, signal).catch(() => {});
  }
}

async function followOnce(
  { busAddress = SYSTEM_BUS, onChange }: { busAddress?: string; onChange(): void },
  signal: AbortSignal,
): Promise<void> {
  const bus = await openBus(busAddress);
  const close = () => bus.close();
  signal.addEventListener('abort', close, { once: true });
  try {
    if (signal.aborted) return;
    await bus.subscribe({ path: FIREWALLD_PATH, interface: FIREWALLD_NAME, member: 'Reloaded' }, onChange);
    const daemon = { path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', member: 'NameOwnerChanged' };
    await bus.subscribe(daemon, ([name, , owner]) => {
      if (name === FIREWALLD_NAME && owner !== '') onChange();
    });
    // It may have come while nobody listened.
    onChange();
    await bus.closed;
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
}
