import dbus, { type Message } from 'dbus-native';
import { DescriptorStream } from '../../src/dbus/descriptor-stream.ts';

const SYSTEMD = 'org.freedesktop.systemd1';
const BUS = 'org.freedesktop.DBus';
const [CALL, RETURN, ERROR] = [1, 2, 3];

/**
 * The place of systemd on a bus, as far as logind needs it to shut a machine down: it takes the order and does nothing.
 *
 * @param onKill asked to signal a unit
 */
export async function standInForSystemd(
  address: string,
  onKill: (unit: string, signal: number) => void,
): Promise<{ started: string[]; close(): void }> {
  const stream = new DescriptorStream(address.replace(/^unix:path=([^,]*).*$/, '$1'));
  const connection = dbus.createConnection({ stream });
  connection.on('error', () => {});
  const started: string[] = [];
  const answered = new Map<number, () => void>();
  let serial = 0;
  const send = (message: Message) => connection.message({ serial: ++serial, ...message });
  const ask = (member: string, signature?: string, body?: unknown[]) =>
    new Promise<void>((resolve) => {
      answered.set(serial + 1, resolve);
      const to = { destination: BUS, path: '/org/freedesktop/DBus', interface: BUS };
      send({ type: CALL, ...to, member, ...(signature && { signature, body: body! }) });
    });
  connection.on('message', (call: Message) => {
    if (call.type !== CALL) return answered.get(call.replySerial ?? 0)?.();
    const back = { replySerial: call.serial!, destination: call.sender! };
    if (call.member === 'StartUnit') {
      started.push(String(call.body?.[0]));
      send({ type: RETURN, ...back, signature: 'o', body: ['/org/freedesktop/systemd1/job/1'] });
    } else if (call.member === 'KillUnit') {
      onKill(String(call.body?.[0]), Number(call.body?.[2]));
      send({ type: RETURN, ...back });
    } else if (call.body?.[1] === 'LoadState') send({ type: RETURN, ...back, signature: 'v', body: [['s', 'loaded']] });
    else if (call.member === 'Subscribe') send({ type: RETURN, ...back });
    else send({ type: ERROR, ...back, errorName: `${BUS}.Error.UnknownMethod`, signature: 's', body: ['not here'] });
  });
  await ask('Hello');
  await ask('RequestName', 'su', [SYSTEMD, 0]);
  return { started, close: () => stream.destroy() };
}
