/** Backend bgp: BIRD between namespaced hosts. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import anyTest, { type ExecutionContext } from 'ava';
import type { Peer } from '../../../cni/overlay/backend.ts';
import { readBackendFields } from '../../../cni/overlay/backend-fields.ts';
import { createBgp, readBgpSessions } from '../../../cni/overlay/bgp/bgp.ts';
import { readBgpOptions } from '../../../cni/overlay/bgp/options.ts';
import { removeOverlay } from '../../../cni/overlay/remove.ts';
import { run } from '../../../src/linux/exec.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { installBird } from '../../support/bird.ts';
import { diffSnapshots, snapshotHost } from '../../support/host-snapshot.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const folder = mkdtempSync(join(tmpdir(), 'bgp-'));
const bird = installBird(folder);
const test = bird ? anyTest.serial : anyTest.serial.skip;
anyTest.after.always(() => rmSync(folder, { recursive: true, force: true }));

interface Member {
  name: string;
  host: TestNetns;
  pod: TestNetns;
  podIps: { 4: string; 6: string };
  directory: string;
  backend: ReturnType<typeof createBgp>;
  peer: Peer;
  uplinkAddress: string;
}

/** A node on the wire of `wire` with one pod behind `cni0`. `number` tells its addresses: 192.0.<subnet>.<number>, pods 10.244.<number>.0/24. */
async function createMember(
  t: ExecutionContext,
  wire: TestNetns,
  number: number,
  options: Record<string, unknown> = {},
  subnet = 2,
): Promise<Member> {
  const name = `node-${number}.example`;
  const host = await createTestNetns(t, `node${number}`);
  const pod = await createTestNetns(t, `pod${number}`);
  const port = `port${number}`;
  await host.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port, 'netns', wire.name);
  await wire.ip('link', 'set', port, 'master', `switch${subnet}`, 'up');
  await host.ip('addr', 'add', `192.0.${subnet}.${number}/24`, 'dev', 'eth0');
  await host.ip('addr', 'add', `2001:db8:${subnet}::${number}/64`, 'dev', 'eth0', 'nodad');
  await host.ip('link', 'set', 'eth0', 'up');
  await host.ip('link', 'add', 'cni0', 'type', 'bridge');
  await host.ip('addr', 'add', `10.244.${number}.1/24`, 'dev', 'cni0');
  await host.ip('addr', 'add', `fd00:244:${number}::1/64`, 'dev', 'cni0', 'nodad');
  await host.ip('link', 'set', 'cni0', 'up');
  await pod.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'veth0', 'netns', host.name);
  await host.ip('link', 'set', 'veth0', 'master', 'cni0', 'up');
  const podIps = { 4: `10.244.${number}.2`, 6: `fd00:244:${number}::2` };
  await pod.ip('addr', 'add', `${podIps[4]}/24`, 'dev', 'eth0');
  await pod.ip('addr', 'add', `${podIps[6]}/64`, 'dev', 'eth0', 'nodad');
  await pod.ip('link', 'set', 'eth0', 'up');
  await pod.ip('route', 'add', 'default', 'via', `10.244.${number}.1`);
  await pod.ip('-6', 'route', 'add', 'default', 'via', `fd00:244:${number}::1`);
  writeSysctl('net.ipv4.ip_forward', '1', { netns: host.path });
  writeSysctl('net.ipv6.conf.all.forwarding', '1', { netns: host.path });

  const directory = join(folder, `${t.title.slice(0, 8).replaceAll(/\W/g, '_')}-${number}`);
  const fields = readBackendFields({ Type: 'bgp', Directory: directory, BirdProgram: bird, ...options }, 'test');
  const backend = createBgp(readBgpOptions(fields), {
    log: silentLogger,
    clock: systemClock,
    run,
    hostNetns: host.path,
  });
  t.teardown(() => backend.remove());
  const podCidrs = { 4: `10.244.${number}.0/24`, 6: `fd00:244:${number}::/64` };
  const publicIps = { 4: `192.0.${subnet}.${number}`, 6: `2001:db8:${subnet}::${number}` };
  const { index = 0 } = (await host.ipJson<{ ifindex: number; index?: number }>('link', 'show', 'eth0')).map(
    ({ ifindex }) => ({ index: ifindex }),
  )[0]!;
  const self = { name, podCidrs, publicIps, uplink: { name: 'eth0', index, mtu: 1500 } };
  const { data } = await backend.ensure(self);
  const peer = { node: name, podCidrs, publicIps, backendType: 'bgp', backendData: data };
  return { name, host, pod, podIps, directory, backend, peer, uplinkAddress: publicIps[4] };
}

async function createWire(t: ExecutionContext, subnets = [2]): Promise<TestNetns> {
  const wire = await createTestNetns(t, 'wire');
  for (const subnet of subnets) {
    await wire.ip('link', 'add', `switch${subnet}`, 'type', 'bridge');
    await wire.ip('link', 'set', `switch${subnet}`, 'up');
  }
  return wire;
}

const peersOf = (members: readonly Member[], self: Member) =>
  new Map(members.filter((one) => one !== self).map(({ name, peer }) => [name, peer]));

const syncAll = (members: readonly Member[]) =>
  Promise.all(members.map((one) => one.backend.sync(peersOf(members, one))));

const ping = (from: TestNetns, to: string, seconds = 1) => from.run('busybox', ['ping', '-c1', `-W${seconds}`, to]);

async function eventually<T>(what: string, look: () => Promise<T | undefined | false>, timeoutMs = 60_000): Promise<T> {
  const deadlineMs = systemClock.monotonicMs() + timeoutMs;
  for (;;) {
    const value = await look();
    if (value) return value;
    if (systemClock.monotonicMs() > deadlineMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await systemClock.sleep(50);
  }
}

/** Pod networks that BIRD has written, with where they lead. */
async function birdRoutes({ host }: Member): Promise<string[]> {
  const routes = [];
  for (const family of ['-4', '-6'])
    for (const { dst, gateway, type, metric } of await host.ipJson<Record<string, string>>(
      family,
      ...['-N', 'route', 'show', 'proto', '12'],
    ))
      routes.push(`${type === undefined || type === '1' ? '' : `${type} `}${dst} ${gateway ?? ''} ${metric}`);
  return routes.toSorted();
}

const countRoutes = (member: Member, count: number) =>
  eventually(`${count} routes on ${member.name}`, async () => (await birdRoutes(member)).length === count);

async function birdPid({ directory }: Member): Promise<number> {
  return Number(readFileSync(join(directory, 'bird.pid'), 'utf8'));
}

test('a mesh of three nodes: pods of both families reach each other; a node goes; bird is killed, and traffic goes on', async (t) => {
  const wire = await createWire(t);
  const members = [];
  for (const number of [1, 2, 3]) members.push(await createMember(t, wire, number));
  const [first, second, third] = members as [Member, Member, Member];
  const before = await snapshotHost({ netns: first.host.path });
  await t.throwsAsync(ping(first.pod, second.podIps[4]), undefined, 'without the routes');
  t.deepEqual(await Promise.all((await syncAll(members)).map(({ skipped }) => skipped)), [[], [], []]);

  for (const member of members) await countRoutes(member, 6);
  t.deepEqual(await birdRoutes(first), [
    '10.244.2.0/24 192.0.2.2 959',
    '10.244.3.0/24 192.0.2.3 959',
    '6 10.244.1.0/24  959',
    '6 fd00:244:1::/64  959',
    'fd00:244:2::/64 2001:db8:2::2 959',
    'fd00:244:3::/64 2001:db8:2::3 959',
  ]);
  for (const from of members)
    for (const to of members)
      for (const family of [4, 6] as const) await t.notThrowsAsync(ping(from.pod, to.podIps[family], 20));
  t.is((await first.backend.sync(peersOf(members, first))).changed, 0, 'nothing new, nothing written');
  const sessions = (await readBgpSessions(first.directory, systemClock))!;
  t.deepEqual(
    sessions.map((one) => `${one.description} ${one.isEstablished} ${one.importedRoutes}`).toSorted(),
    [second, second, third, third].map(({ name }) => `${name} true 1`),
  );

  // A node goes: one file a family, and the sessions with the others stay.
  const rest = new Map([[third.name, third.peer]]);
  t.is((await first.backend.sync(rest, new Set([second.name]))).changed, 3);
  await countRoutes(first, 4);
  t.true((await readBgpSessions(first.directory, systemClock))!.every(({ isEstablished }) => isEstablished));
  await first.backend.sync(peersOf(members, first), new Set([second.name]));
  await countRoutes(first, 6);

  // BIRD dies; its routes and the others' stay, and a new one comes.
  const controller = new AbortController();
  const running = first.backend.run!(controller.signal);
  const pid = await birdPid(first);
  process.kill(pid, 'SIGKILL');
  for (let count = 0; count < 5; count++) {
    await t.notThrowsAsync(ping(second.pod, first.podIps[4], 20));
    await t.notThrowsAsync(ping(first.pod, third.podIps[6], 20));
  }
  await eventually('another bird', async () => (await birdPid(first).catch(() => pid)) !== pid);
  await eventually('sessions again', async () => {
    const found = await readBgpSessions(first.directory, systemClock);
    return found?.length === 4 && found.every(({ isEstablished }) => isEstablished);
  });
  t.is((await birdRoutes(first)).length, 6);
  t.is((await birdRoutes(second)).length, 6);
  controller.abort();
  await running;

  // Another overlay process goes on with the same BIRD, whose sessions do not notice.
  const kept = await birdPid(first);
  first.backend.close();
  const fields = readBackendFields({ Type: 'bgp', Directory: first.directory, BirdProgram: bird }, 'test');
  const next = createBgp(readBgpOptions(fields), {
    log: silentLogger,
    clock: systemClock,
    run,
    hostNetns: first.host.path,
  });
  await next.ensure({ name: first.name, ...first.peer, uplink: { name: 'eth0', index: 2, mtu: 1500 } });
  t.is((await next.sync(peersOf(members, first))).changed, 0);
  t.is(await birdPid(first), kept);

  // R17: nothing is left, and what others see is told at once.
  await next.remove();
  await next.remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: first.host.path })), []);
  await second.backend.sync(new Map([[third.name, third.peer]]));
  await countRoutes(second, 4);
});

test('what is left is found without the configuration that made it: a BIRD of a directory of its own, of this host alone', async (t) => {
  const wire = await createWire(t);
  const members = [await createMember(t, wire, 1), await createMember(t, wire, 2)];
  const [one, other] = members as [Member, Member];
  await syncAll(members);
  await countRoutes(one, 4);
  const kept = await birdPid(other);
  const foreign = join(one.directory, 'notes.txt');
  writeFileSync(foreign, 'by an administrator\n');
  const deps = { log: silentLogger, clock: systemClock, run, hostNetns: one.host.path };
  await removeOverlay({ ownOnly: true }, deps);
  await removeOverlay({ ownOnly: true }, deps);
  t.is(await readBgpSessions(one.directory, systemClock), undefined, 'it has ended');
  t.deepEqual(await birdRoutes(one), []);
  t.deepEqual(readdirSync(one.directory), ['notes.txt'], "others' files stay");
  t.is(await birdPid(other), kept);
});

test('a router between two subnets takes part: pods reach each other, where host-gw cannot', async (t) => {
  const wire = await createWire(t, [2, 3]);
  const router = await createTestNetns(t, 'router');
  for (const subnet of [2, 3]) {
    await router.ip('link', 'add', `eth${subnet}`, 'type', 'veth', 'peer', 'name', `r${subnet}`, 'netns', wire.name);
    await wire.ip('link', 'set', `r${subnet}`, 'master', `switch${subnet}`, 'up');
    await router.ip('addr', 'add', `192.0.${subnet}.254/24`, 'dev', `eth${subnet}`);
    await router.ip('link', 'set', `eth${subnet}`, 'up');
  }
  writeSysctl('net.ipv4.ip_forward', '1', { netns: router.path });
  const options = (subnet: number) => ({ NodeMesh: 'off', Peers: [`192.0.${subnet}.254@64513`] });
  const one = await createMember(t, wire, 1, options(2), 2);
  const other = await createMember(t, wire, 2, options(3), 3);
  for (const [{ host }, subnet] of [
    [one, 2],
    [other, 3],
  ] as const)
    await host.ip('route', 'add', 'default', 'via', `192.0.${subnet}.254`);

  // The router's own BIRD, as its administrator would write it.
  const configuration = join(folder, 'router.conf');
  const neighbour = (subnet: number, number: number) =>
    `protocol bgp n${number} { local 192.0.${subnet}.254 as 64513; neighbor 192.0.${subnet}.${number} as 64512; connect delay time 1; ipv4 { import all; export all; }; }`;
  writeFileSync(
    configuration,
    `router id 192.0.2.254; protocol device {} protocol direct { ipv4; } protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; } ${neighbour(2, 1)} ${neighbour(3, 2)}\n`,
  );
  const pidFile = join(folder, 'router.pid');
  await router.run(bird!, ['-c', configuration, '-s', join(folder, 'router.ctl'), '-P', pidFile]);
  t.teardown(() => process.kill(Number(readFileSync(pidFile, 'utf8'))));

  await syncAll([one, other]);
  await eventually('a path', () =>
    ping(one.pod, other.podIps[4]).then(
      () => true,
      () => false,
    ),
  );
  await t.notThrowsAsync(ping(other.pod, one.podIps[4], 20));
  t.true((await birdRoutes(one)).includes('10.244.2.0/24 192.0.2.254 959'), 'by the router');
});

test('a route reflector: the others speak with it alone, and reach each other directly', async (t) => {
  const wire = await createWire(t);
  const reflector = await createMember(t, wire, 1, { RouteReflectorClusterID: '244.0.0.1' });
  const clients = [await createMember(t, wire, 2), await createMember(t, wire, 3)] as const;
  await syncAll([reflector, ...clients]);
  await eventually('a path', () =>
    ping(clients[0].pod, clients[1].podIps[6]).then(
      () => true,
      () => false,
    ),
  );
  await countRoutes(clients[0], 6);
  t.true((await birdRoutes(clients[0])).includes('10.244.3.0/24 192.0.2.3 959'), 'not by way of the reflector');
  const sessions = (await readBgpSessions(clients[0].directory, systemClock))!;
  t.deepEqual([...new Set(sessions.map(({ description }) => description))], [reflector.name]);
});

test('bad configuration is never applied; wrong passwords and foreign routes are told', async (t) => {
  const wire = await createWire(t);
  const passwordFile = join(folder, 'password');
  const extra = join(folder, 'extra.conf');
  writeFileSync(passwordFile, 'open sesame\n');
  writeFileSync(extra, '# nothing yet\n');
  const one = await createMember(t, wire, 1, { PasswordFile: passwordFile, Include: [extra] });
  const other = await createMember(t, wire, 2, { PasswordFile: passwordFile });
  await syncAll([one, other]);
  await countRoutes(one, 4);
  const configuration = readFileSync(join(one.directory, 'bird.conf'), 'utf8');
  t.regex(configuration, /password "open sesame"/);

  writeFileSync(extra, 'protocol nonsense {\n');
  const error = await t.throwsAsync(one.backend.sync(new Map(), new Set([other.name])));
  t.regex(error!.message, /extra\.conf:1/, 'names the file and the line');
  await systemClock.sleep(300);
  t.is((await birdRoutes(one)).length, 4, 'BIRD goes on with what it had');
  t.true((await readBgpSessions(one.directory, systemClock))!.every(({ isEstablished }) => isEstablished));
  writeFileSync(extra, '# mended\n');
  await one.backend.sync(peersOf([one, other], one));

  // Somebody else's route to the pods of a node comes before ours.
  await one.host.ip('route', 'add', '10.244.2.0/24', 'via', '192.0.2.99');
  const { skipped } = await one.backend.sync(peersOf([one, other], one));
  t.regex(skipped[0]!.reason, /another program's route to its pods \(10\.244\.2\.0\/24, protocol 3\)/);
  await one.host.ip('route', 'del', '10.244.2.0/24', 'via', '192.0.2.99');

  // Another password: no session, and the state says so.
  writeFileSync(passwordFile, 'another\n');
  await one.backend.sync(peersOf([one, other], one));
  await eventually('the sessions are gone', async () =>
    (await readBgpSessions(one.directory, systemClock))?.every(({ isEstablished }) => !isEstablished),
  );
  const nat = { ...one.peer.publicIps, 4: '203.0.113.7' };
  const self = { name: one.name, ...one.peer, publicIps: nat, uplink: { name: 'eth0', index: 2, mtu: 1500 } };
  await t.throwsAsync(one.backend.ensure(self), { message: /203\.0\.113\.7 is none of this node's/ });
  rmSync(passwordFile);
  await t.throwsAsync(one.backend.sync(peersOf([one, other], one)), { message: /PasswordFile: ENOENT/ });
});
