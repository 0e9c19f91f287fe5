/** Leases of a server of another make than BusyBox's: ISC's, as distributions have it. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createDhcpLeases, DEFAULT_PATIENCE } from '../../../cni/ipam/dhcp/leases.ts';
import { OPTION } from '../../../cni/ipam/dhcp/message.ts';
import { resultOf } from '../../../cni/ipam/dhcp/options.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { hasIscDhcpServer, startIscDhcpServer } from '../../support/isc-dhcp-server.ts';
import { createTestNetns } from '../../support/netns.ts';

const story = hasIscDhcpServer ? test : test.skip;
const without = hasIscDhcpServer ? '' : ' (isc-dhcp-server of Debian could not be had)';

for (const [who, identifier] of [
  ['a client by our identifier', undefined],
  ['a client by a configured one', '\0asset-17'],
] as const)
  story(`${who}: got, renewed, granted anew by a server that forgot it, and given back${without}`, async (t) => {
    const server = await createTestNetns(t, 'server');
    const pod = await createTestNetns(t, 'pod');
    await server.ip('link', 'add', 'srv0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.path);
    await server.ip('address', 'add', '10.5.0.1/24', 'dev', 'srv0');
    await server.ip('link', 'set', 'srv0', 'up');
    // It listens on a link with a carrier.
    await pod.ip('link', 'set', 'eth0', 'up');
    const dhcpd = await startIscDhcpServer(t, server, { leaseSeconds: 4 });
    const stateDir = mkdtempSync(join(tmpdir(), 'berth-dhcp-'));
    t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
    const options = { ...DEFAULT_PATIENCE, stateDir, broadcast: false };
    const leases = createDhcpLeases(options, { clock: systemClock, log: silentLogger });
    t.teardown(() => leases.close());
    const key = { network: 'net', containerId: 'one', ifname: 'eth0' };
    const provide = identifier ? [[OPTION.clientIdentifier, Buffer.from(identifier)] as const] : [];
    const ack = await leases.allocate({ key, netns: pod.path, options: { request: [3, 1, 6], provide } });
    const { ips, dns } = resultOf(ack);
    t.regex(ips[0]!.address, /^10\.5\.0\.\d+\/24$/);
    t.is(ips[0]!.gateway, '10.5.0.1');
    t.deepEqual(dns, { nameservers: ['10.5.0.53'] });
    await pod.ip('address', 'add', ips[0]!.address, 'dev', 'eth0');
    const address = ack.yourAddress;
    const acks = () => dhcpd.log().match(new RegExp(`DHCPACK on ${address} `, 'g'))?.length ?? 0;
    await eventually('renewed', () => acks() >= 2);
    await dhcpd.forget();
    await eventually('granted anew', () => acks() >= 1);
    t.is(leases.held(key)?.yourAddress, address);
    await leases.release(key);
    await eventually('given back', () => new RegExp(`DHCPRELEASE of ${address} .*\\(found\\)`).test(dhcpd.log()));
    t.deepEqual(readdirSync(stateDir), []);
  });
