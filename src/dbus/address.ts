/**
 * The sockets of a D-Bus address (`unix:path=/run/dbus/system_bus_socket`, `unix:abstract=name`, several with `;` between), in order, as
 * Node names them: an abstract one begins with a zero byte.
 * @throws Error with the address and what is accepted
 */
export function parseBusAddress(address: string): string[] {
  return address.split(';').map((one) => {
    const [, transport, rest] = /^([^:]*):(.*)$/s.exec(one) ?? [];
    const keys = new Map(
      (rest ?? '').split(',').map((pair) => [pair.split('=')[0], pair.split('=').slice(1).join('=')]),
    );
    const [path, abstract] = [keys.get('path'), keys.get('abstract')].map((value) => value && decodePercent(value));
    if (transport !== 'unix' || (!path && !abstract))
      throw new Error(
        `D-Bus address ${JSON.stringify(one)} is none of a UNIX socket; accepted: unix:path=/… or unix:abstract=…`,
      );
    return path || `\0${abstract}`;
  });
}

/** Bytes outside of `[-0-9A-Za-z_/.\*]` are written `%xx`. */
function decodePercent(value: string): string {
  return value.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
