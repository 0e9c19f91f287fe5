import { closeSync } from 'node:fs';
import { type Bus, openBus } from '../../../src/dbus/bus.ts';

/** What graceful shutdown needs of systemd-logind. */
export interface Logind {
  /** How long logind waits for delay locks at most (InhibitDelayMaxSec). */
  inhibitDelayMs(): Promise<number>;
  /** A shutdown has begun already, and waits for locks. */
  isPreparing(): Promise<boolean>;
  /** Takes a lock that delays a shutdown. @throws when one is under way */
  inhibit(): Promise<InhibitorLock>;
  /** Makes logind read its configuration again; it does so a little later. */
  reload(): Promise<void>;
  /** Told true when a shutdown begins, false when it was called off. */
  onPrepare(handler: (isShuttingDown: boolean) => void): Promise<void>;
  /** Resolves when the bus is gone; why, if it was not `close()`. */
  closed: Promise<Error | undefined>;
  close(): void;
}

export interface InhibitorLock {
  /** Lets the shutdown go on. Idempotent. */
  release(): void;
}

const MANAGER = {
  destination: 'org.freedesktop.login1',
  path: '/org/freedesktop/login1',
  interface: 'org.freedesktop.login1.Manager',
};
const SYSTEMD = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
};
const SIGHUP = 1;

/**
 * Over the system bus: an ordinary connection for questions and signals, and one of a moment for each lock, whose file descriptor an
 * ordinary one could not receive. logind knows a lock by its descriptor alone, not by the connection.
 */
export async function connectLogind(busAddress: string): Promise<Logind> {
  const bus = await openBus(busAddress);
  return {
    inhibitDelayMs: async () => Number((await readProperty(bus, 'InhibitDelayMaxUSec')) as bigint) / 1000,
    isPreparing: async () => (await readProperty(bus, 'PreparingForShutdown')) === true,
    async inhibit() {
      const courier = await openBus(busAddress, { descriptors: true });
      try {
        const body = ['shutdown', 'berth', 'Pods need time to end before the node shuts down', 'delay'];
        const { fds } = await courier.call({ ...MANAGER, member: 'Inhibit', signature: 'ssss', body });
        if (fds.length !== 1) throw new Error(`logind answered Inhibit with ${fds.length} file descriptors, not one`);
        return lockOf(fds[0]!);
      } finally {
        courier.close();
      }
    },
    async reload() {
      const body = ['systemd-logind.service', 'all', SIGHUP];
      await bus.call({ ...SYSTEMD, member: 'KillUnit', signature: 'ssi', body });
    },
    onPrepare: (handler) =>
      bus.subscribe({ ...MANAGER, member: 'PrepareForShutdown' }, ([isShuttingDown]) => {
        if (typeof isShuttingDown === 'boolean') handler(isShuttingDown);
      }),
    closed: bus.closed,
    close: bus.close,
  };
}

async function readProperty(bus: Bus, name: string): Promise<unknown> {
  const { body } = await bus.call({
    ...MANAGER,
    interface: 'org.freedesktop.DBus.Properties',
    member: 'Get',
    signature: 'ss',
    body: [MANAGER.interface, name],
  });
  return body[0];
}

function lockOf(fd: number): InhibitorLock {
  let isHeld = true;
  return {
    release() {
      if (!isHeld) return;
      isHeld = false;
      closeSync(fd);
    },
  };
}
