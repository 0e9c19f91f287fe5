import test from 'ava';
import { parseBusAddress } from '../../../src/dbus/address.ts';

test('UNIX sockets of an address, abstract and escaped ones too', (t) => {
  t.deepEqual(parseBusAddress('unix:path=/run/dbus/system_bus_socket,guid=ab'), ['/run/dbus/system_bus_socket']);
  t.deepEqual(parseBusAddress('unix:abstract=x%20y;unix:path=/a'), ['\0x y', '/a']);
});

for (const bad of ['', '/run/dbus/system_bus_socket', 'tcp:host=localhost,port=1', 'unix:', 'unix:path='])
  test(`refused: ${JSON.stringify(bad)}`, (t) => {
    t.throws(() => parseBusAddress(bad), { message: /accepted: unix:path=\/… or unix:abstract=…$/ });
  });
