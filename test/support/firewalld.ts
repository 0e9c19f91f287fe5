import { once } from 'node:events';
import { connect } from 'node:net';
import dbus, { type Message } from 'dbus-native';

const NAME = 'org.fedoraproject.FirewallD1';
const BUS = 'org.freedesktop.DBus';
const [CALL, RETURN, ERROR] = [1, 2, 3];

export interface FakeFirewalld {
  /** `trusted 10.9.0.2/32`, in the order of their coming. */
  sources(): string[];
  stop(): void;
}

/** As much of firewalld as its zones' sources have to do with, by its manual (firewalld.dbus): an address is in one zone at most. */
export async function startFakeFirewalld(address: string, zones = ['trusted', 'public']): Promise<FakeFirewalld> {
  const stream = connect(address.replace(/^unix:path=([^,]*).*$/, '$1'));
  await once(stream, 'connect');
  const connection = dbus.createConnection({ stream, authMethods: ['EXTERNAL'] });
  connection.on('error', () => {});
  let serial = 0;
  const send = (message: Message) => connection.message({ serial: ++serial, ...message });
  const zoneOf = new Map<string, string>();
  const named = Promise.withResolvers<void>();

  connection.on('message', (message: Message) => {
    if (message.type === RETURN && message.replySerial === 2) named.resolve();
    if (message.type !== CALL || message.interface !== `${NAME}.zone`) return;
    const to = { replySerial: message.serial!, destination: message.sender! };
    const [zone, source] = message.body as [string, string];
    const answer = (signature: string, body: unknown[]) => send({ type: RETURN, ...to, signature, body });
    const refuse = (code: string) =>
      send({ type: ERROR, ...to, errorName: `${NAME}.Exception`, signature: 's', body: [`${code}: '${source}'`] });
    if (!zones.includes(zone)) return refuse('INVALID_ZONE');
    const has = zoneOf.get(source);
    if (message.member === 'querySource') return answer('b', [has === zone]);
    if (message.member === 'addSource') {
      if (has !== undefined) return refuse(has === zone ? 'ZONE_ALREADY_SET' : 'ZONE_CONFLICT');
      zoneOf.set(source, zone);
      return answer('s', [zone]);
    }
    if (has !== zone) return refuse(has === undefined ? 'UNKNOWN_SOURCE' : 'ZONE_CONFLICT');
    zoneOf.delete(source);
    return answer('s', [zone]);
  });
  const bus = { type: CALL, destination: BUS, path: '/org/freedesktop/DBus', interface: BUS };
  send({ ...bus, member: 'Hello' });
  send({ ...bus, member: 'RequestName', signature: 'su', body: [NAME, 0] });
  await named.promise;
  return {
    sources: () => [...zoneOf].map(([source, zone]) => `${zone} ${source}`),
    stop: () => stream.destroy(),
  };
}
