import { type Bus, openBus } from '../../src/dbus/bus.ts';
import { CNI_ERROR, CniError } from '../types.ts';

export const FIREWALLD_NAME = 'org.fedoraproject.FirewallD1';
export const FIREWALLD_PATH = '/org/fedoraproject/FirewallD1';
/** Where dbus-daemon has it unless told otherwise. */
export const SYSTEM_BUS = 'unix:path=/run/dbus/system_bus_socket';

const ZONES = { destination: FIREWALLD_NAME, path: FIREWALLD_PATH, interface: `${FIREWALLD_NAME}.zone` };

/** firewalld over the system bus: addresses as sources of a zone. */
export interface Firewalld {
  /** Whether the service is on the bus now. */
  isRunning(): Promise<boolean>;
  /** An address that is in the zone already is no error. @throws CniError 5 with firewalld's word, such as a conflict with another zone */
  addSources(zone: string, addresses: readonly string[]): Promise<void>;
  /** One that is not there is no error. */
  removeSources(zone: string, addresses: readonly string[]): Promise<void>;
  /** @returns those that are not in the zone. */
  findMissing(zone: string, addresses: readonly string[]): Promise<string[]>;
  /** @returns the addresses that are in no zone at all. */
  findZoneless(addresses: readonly string[]): Promise<string[]>;
}

/** A connection a call: containers come and go too seldom for one that is kept. */
export function createFirewalld(busAddress = SYSTEM_BUS): Firewalld {
  async function withBus<T>(work: (bus: Bus) => Promise<T>): Promise<T> {
    const bus = await openBus(busAddress);
    try {
      return await work(bus);
    } finally {
      bus.close();
    }
  }
  const call = async (bus: Bus, member: string, zone: string, address: string) =>
    (await bus.call({ ...ZONES, member, signature: 'ss', body: [zone, address] })).body[0];

  return {
    async isRunning() {
      try {
        await withBus((bus) =>
          bus.call({
            destination: 'org.freedesktop.DBus',
            path: '/org/freedesktop/DBus',
            interface: 'org.freedesktop.DBus',
            member: 'GetNameOwner',
            signature: 's',
            body: [FIREWALLD_NAME],
          }),
        );
        return true;
      } catch {
        // No bus, or nobody of that name on it.
        return false;
      }
    },

    addSources: (zone, addresses) =>
      withBus(async (bus) => {
        for (const address of addresses)
          await call(bus, 'addSource', zone, address).catch((error) => {
            if (!said(error).includes('ZONE_ALREADY_SET')) throw refused(`add ${address} to zone ${zone}`, error);
          });
      }),

    removeSources: (zone, addresses) =>
      withBus(async (bus) => {
        for (const address of addresses)
          await call(bus, 'removeSource', zone, address).catch((error) => {
            if (!/UNKNOWN_SOURCE|ZONE_CONFLICT|INVALID_ZONE/.test(said(error)))
              throw refused(`remove ${address} from zone ${zone}`, error);
          });
      }),

    findMissing: (zone, addresses) =>
      withBus(async (bus) => {
        const missing: string[] = [];
        for (const address of addresses)
          if ((await call(bus, 'querySource', zone, address)) !== true) missing.push(address);
        return missing;
      }),

    findZoneless: (addresses) =>
      withBus(async (bus) => {
        const zoneless: string[] = [];
        for (const address of addresses) {
          const { body } = await bus.call({ ...ZONES, member: 'getZoneOfSource', signature: 's', body: [address] });
          if (body[0] === '') zoneless.push(address);
        }
        return zoneless;
      }),
  };
}

/** firewalld's exceptions have their code at the beginning of the message. */
function said(error: unknown): string {
  const { dbusName = '', message = '' } = error as { dbusName?: string; message?: string };
  return `${dbusName} ${message}`;
}

function refused(what: string, cause: unknown): CniError {
  return new CniError(CNI_ERROR.ioFailure, `firewall: firewalld could not ${what}`, {
    details: said(cause).trim(),
    cause,
  });
}
