/** Leases of a real DHCP server, kept in a container's namespace. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createDhcpLeases, DEFAULT_PATIENCE } from '../../../cni/ipam/dhcp/leases.ts';
import { MESSAGE_TYPE, OPTION } from '../../../cni/ipam/dhcp/message.ts';
import { resultOf, withResultOptions } from '../../../cni/ipam/dhcp/options.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { createLogger } from '../../../src/runtime/log.ts';
import { hearRequests } from '../../support/dhcp-requests.ts';
import { type DhcpServerOptions, startDhcpServer } from '../../support/dhcp-server.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const ROUTERS_AND_MASK = { request: [3, 1], provide: [] };

/** A pod's link that leads to a server's. */
async function setUp(t: ExecutionContext, options?: DhcpServerOptions) {
  const server = await createTestNetns(t, 'server');
  const pod = await createTestNetns(t, 'pod');
  await server.ip('link', 'add', 'srv0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.path);
  await server.ip('address', 'add', '10.5.0.1/24', 'dev', 'srv0');
  await server.ip('link', 'set', 'srv0', 'up');
  const udhcpd = await startDhcpServer(t, server, options);
  const stateDir = mkdtempSync(join(tmpdir(), 'berth-dhcp-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  const start = (patience = DEFAULT_PATIENCE) => {
    const leases = createDhcpLeases(
      { ...patience, stateDir, broadcast: false },
      { clock: systemClock, log: createLogger({ level: process.env['DHCP_LOG'] ?? 'silent' }) },
    );
    t.teardown(() => leases.close());
    return leases;
  };
  const key = { network: 'net', containerId: 'one', ifname: 'eth0' };
  const request = { key, netns: pod.path, options: ROUTERS_AND_MASK };
  /** What an interface plugin does with the result. */
  const configure = (address: string) => pod.ip('address', 'add', address, 'dev', 'eth0');
  return { server, pod, udhcpd, stateDir, start, key, request, configure };
}

test('a lease is got over a link that is down and has no address, and given back', async (t) => {
  const { pod, udhcpd, start, key, request, configure, stateDir } = await setUp(t);
  const leases = start();
  const result = resultOf(await leases.allocate(request));
  const address = result.ips[0]!.address;
  t.regex(address, /^10\.5\.0\.\d+\/24$/);
  t.is(result.ips[0]!.gateway, '10.5.0.1');
  t.deepEqual(result.routes, [{ dst: '0.0.0.0/0', gw: '10.5.0.1' }]);
  t.regex(await pod.ip('link', 'show', 'eth0'), /UP/);
  t.is(`${(await leases.allocate(request)).yourAddress}/24`, address, 'the same again');
  t.is(readdirSync(stateDir).length, 1);
  await configure(address);
  await leases.release(key);
  await eventually('the server hears of the release', async () => /expired/.test(await udhcpd.leases()));
  t.deepEqual(readdirSync(stateDir), []);
  await leases.release(key);
});

test('a lease is renewed before it ends, by its own server; the pod’s firewall only makes it later', async (t) => {
  const { pod, udhcpd, start, key, request, configure } = await setUp(t, { leaseSeconds: 3 });
  const leases = start();
  const { yourAddress } = await leases.allocate(request);
  await configure(`${yourAddress}/24`);
  const renewals = () => udhcpd.log().match(/sending ACK/gi)!.length;
  await eventually('two renewals', () => renewals() >= 3);
  t.is(leases.held(key)?.yourAddress, yourAddress);
  t.regex(await pod.ip('link', 'show', 'eth0'), /UP/);
  // Without the address on the link nothing can be sent to the server alone: everybody is asked when T2 is over.
  await pod.ip('address', 'flush', 'dev', 'eth0');
  const before = renewals();
  await eventually('rebound', () => renewals() > before + 1);
  t.is(leases.held(key)?.yourAddress, yourAddress);
});

test('a server that is gone for good: the lease ends, and the link goes down with it', async (t) => {
  const { pod, udhcpd, start, key, request, configure, stateDir } = await setUp(t, { leaseSeconds: 2 });
  const leases = start();
  const { yourAddress } = await leases.allocate(request);
  await configure(`${yourAddress}/24`);
  await udhcpd.stop();
  await eventually('the lease is lost', () => leases.held(key) === undefined);
  await eventually('the link is down', async () => !/[<,]UP[,>]/.test(await pod.ip('link', 'show', 'eth0')));
  t.deepEqual(readdirSync(stateDir), []);
});

test('a server that forgot its leases grants the same address anew', async (t) => {
  const { server, udhcpd, start, key, request, configure } = await setUp(t, { leaseSeconds: 8 });
  const leases = start();
  const { yourAddress } = await leases.allocate(request);
  await configure(`${yourAddress}/24`);
  await udhcpd.stop();
  const forgetful = await startDhcpServer(t, server, { leaseSeconds: 8 });
  await eventually('granted anew', () => /sending ACK/i.test(forgetful.log()));
  t.is(leases.held(key)?.yourAddress, yourAddress);
});

test('who keeps the leases may be restarted: they are renewed on, and those of gone namespaces forgotten', async (t) => {
  const { udhcpd, start, key, request, configure, stateDir } = await setUp(t, { leaseSeconds: 4 });
  const first = start();
  const { yourAddress } = await first.allocate(request);
  await configure(`${yourAddress}/24`);
  await first.close();
  t.is(readdirSync(stateDir).length, 1, 'closing releases nothing');
  const second = start();
  second.restore();
  t.is(second.held(key)?.yourAddress, yourAddress);
  const acks = () => udhcpd.log().match(/sending ACK/gi)!.length;
  await eventually('renewed by the second', () => acks() >= 2);
  await second.close();
  const [file] = readdirSync(stateDir);
  const record = JSON.parse(readFileSync(join(stateDir, file!), 'utf8'));
  writeFileSync(join(stateDir, file!), JSON.stringify({ ...record, netnsId: '0:0' }));
  writeFileSync(join(stateDir, 'torn.json'), '{"key":');
  const third = start();
  third.restore();
  t.is(third.held(key), undefined);
  t.deepEqual(readdirSync(stateDir), ['torn.json']);
});

/** Waits until somebody listens to a link of the namespace for answers: there is a packet socket in it. */
const searches = (pod: TestNetns) =>
  eventually('it searches', async () => (await pod.run('cat', ['/proc/net/packet'])).trim().split('\n').length > 1);

test('nobody answers: code 11 when the patience is over, and nothing is kept', async (t) => {
  const { udhcpd, start, key, request, stateDir } = await setUp(t);
  await udhcpd.stop();
  const leases = start({ timeoutMs: 300, resendMaxMs: 1000, resendTimeoutMs: 400 });
  await t.throwsAsync(leases.allocate(request), { code: 11, message: /no DHCP lease for eth0: no server answered/ });
  t.is(leases.held(key), undefined);
  t.deepEqual(readdirSync(stateDir), []);
  await t.throwsAsync(leases.allocate({ ...request, key: { ...key, ifname: 'eth9' } }), {
    code: 8,
    message: /no link eth9/,
  });
  await t.throwsAsync(leases.allocate({ ...request, netns: '/run/netns/none' }), { code: 8 });
});

test('a link that goes down while a server is waited for: tried again when it is up; one that is deleted ends it', async (t) => {
  const { server, pod, udhcpd, start, request } = await setUp(t);
  await udhcpd.stop();
  const leases = start();
  const waiting = leases.allocate(request);
  await searches(pod);
  await pod.ip('link', 'set', 'eth0', 'down');
  await startDhcpServer(t, server);
  await systemClock.sleep(100);
  await pod.ip('link', 'set', 'eth0', 'up');
  t.regex((await waiting).yourAddress, /^10\.5\.0\./);
  const other = { ...request, key: { ...request.key, ifname: 'eth1' } };
  await pod.ip('link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'nobody');
  const again = t.throwsAsync(leases.allocate(other), { message: /link \d+: E(NETDOWN|NXIO|NODEV)/ });
  await searches(pod);
  await pod.ip('link', 'delete', 'eth1');
  await again;
});

test('a detachment ends an attachment that still waits for a server', async (t) => {
  const { pod, udhcpd, start, key, request } = await setUp(t);
  await udhcpd.stop();
  const leases = start();
  const waiting = leases.allocate(request);
  await searches(pod);
  await t.throwsAsync(leases.allocate(request), { code: 11, message: /being acquired already/ });
  await leases.release(key);
  await t.throwsAsync(waiting, { message: /was detached meanwhile/ });
});

test('a link that is deleted, or a namespace that is gone, ends the keeping', async (t) => {
  const { pod, start, key, request, stateDir } = await setUp(t, { leaseSeconds: 2 });
  const leases = start();
  await leases.allocate(request);
  await pod.ip('link', 'delete', 'eth0');
  await eventually('kept no longer', () => leases.held(key) === undefined);
  t.deepEqual(readdirSync(stateDir), []);
});

test('routes without classes, name servers when asked for, a hostname that is told', async (t) => {
  const { server, start, request } = await setUp(t, {
    options: [
      'opt router 10.5.0.1',
      'opt staticroutes 10.6.0.0/16 10.5.0.7,10.7.128.0/17 10.5.0.8',
      'opt dns 10.5.0.53 10.5.0.54',
      'opt domain cluster.local',
    ],
  });
  const leases = start();
  const heard = await hearRequests(t, server, 'srv0');
  const options = { request: [3, 1, 121, 6, 15], provide: [[12, Buffer.from('a-pod')]] as const };
  const ack = await leases.allocate({ ...request, options });
  const result = withResultOptions(resultOf(ack), { priority: 77 });
  t.deepEqual(result.routes, [
    { dst: '10.6.0.0/16', gw: '10.5.0.7', priority: 77 },
    { dst: '10.7.128.0/17', gw: '10.5.0.8', priority: 77 },
  ]);
  t.deepEqual(result.dns, { nameservers: ['10.5.0.53', '10.5.0.54'], domain: 'cluster.local' });
  t.is(withResultOptions(resultOf(ack), { suppressGateway: true }).ips[0]!.gateway, undefined);
  // A message may be sent twice where the machine is slow.
  const names = heard().map(({ options: told }) => Buffer.from(told.get(OPTION.hostName)!).toString());
  t.deepEqual([...new Set(names)], ['a-pod']);
});

test('a client identifier of the configuration is told in every message, so that a server finds what it releases', async (t) => {
  const { server, udhcpd, start, key, request, configure } = await setUp(t);
  const leases = start();
  const heard = await hearRequests(t, server, 'srv0');
  const options = { request: [3, 1], provide: [[OPTION.clientIdentifier, Buffer.from('\0asset-17')]] as const };
  const { yourAddress } = await leases.allocate({ ...request, options });
  await configure(`${yourAddress}/24`);
  await leases.release(key);
  await eventually('the server hears of the release', async () => /expired/.test(await udhcpd.leases()));
  const told = heard().map(({ options: one }) => {
    const identifier = Buffer.from(one.get(OPTION.clientIdentifier)!).toString('latin1');
    return `${one.get(OPTION.messageType)![0]} ${identifier}`;
  });
  const { discover, request: asking, release } = MESSAGE_TYPE;
  t.deepEqual(
    [...new Set(told)],
    [discover, asking, release].map((type) => `${type} \0asset-17`),
  );
});

test('twenty at once have twenty addresses', async (t) => {
  const server = await createTestNetns(t, 'server');
  await server.ip('link', 'add', 'srv0', 'type', 'bridge');
  await server.ip('address', 'add', '10.5.0.1/24', 'dev', 'srv0');
  await server.ip('link', 'set', 'srv0', 'up');
  await startDhcpServer(t, server);
  const pod = await createTestNetns(t, 'pod');
  const names = Array.from({ length: 20 }, (_, n) => `eth${n}`);
  for (const name of names) {
    await server.ip(
      'link',
      'add',
      `v${name}`,
      'master',
      'srv0',
      'up',
      'type',
      'veth',
      'peer',
      'name',
      name,
      'netns',
      pod.path,
    );
  }
  const stateDir = mkdtempSync(join(tmpdir(), 'berth-dhcp-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  const log = createLogger({ level: 'silent' });
  const leases = createDhcpLeases({ ...DEFAULT_PATIENCE, stateDir, broadcast: true }, { clock: systemClock, log });
  t.teardown(() => leases.close());
  const began = performance.now();
  const acks = await Promise.all(
    names.map((ifname) =>
      leases.allocate({
        key: { network: 'net', containerId: 'c', ifname },
        netns: pod.path,
        options: ROUTERS_AND_MASK,
      }),
    ),
  );
  t.log(`${Math.round(performance.now() - began)} ms`);
  t.is(new Set(acks.map((ack) => ack.yourAddress)).size, 20);
  await leases.collect('other', []);
  t.truthy(leases.held({ network: 'net', containerId: 'c', ifname: 'eth0' }));
  await leases.collect('net', [{ containerId: 'c', ifname: 'eth3' }]);
  t.is(readdirSync(stateDir).length, 1);
  t.truthy(leases.held({ network: 'net', containerId: 'c', ifname: 'eth3' }));
});
