import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Peer, SelfNode } from '../../../../cni/overlay/backend.ts';
import { readBackendFields } from '../../../../cni/overlay/backend-fields.ts';
import { renderMain, renderNetworks, renderSession } from '../../../../cni/overlay/bgp/bird-config.ts';
import { parseSessions } from '../../../../cni/overlay/bgp/bird-status.ts';
import { openConfigFiles } from '../../../../cni/overlay/bgp/config-files.ts';
import { openBirdControl } from '../../../../cni/overlay/bgp/control-socket.ts';
import { BGP_DEFAULTS, readBgpOptions, readPassword } from '../../../../cni/overlay/bgp/options.ts';
import { computeNodeSessions, computeRouterSessions, listPodNetworks } from '../../../../cni/overlay/bgp/sessions.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';

const SELF: SelfNode = {
  name: 'node-1',
  podCidrs: { 4: '10.244.1.0/24', 6: 'fd00:244:1::/64' },
  publicIps: { 4: '192.0.2.1', 6: '2001:db8::1' },
  uplink: { name: 'eth0', index: 2, mtu: 1500 },
};
const peer = (more: Partial<Peer> = {}): Peer => ({
  node: 'node-2',
  podCidrs: { 4: '10.244.2.0/24' },
  publicIps: { 4: '192.0.2.2' },
  backendType: 'bgp',
  backendData: { 4: { ASNumber: 64_512 } },
  ...more,
});
const options = (raw: Record<string, unknown>) => readBgpOptions(readBackendFields(raw, 'net-conf.json'));
const sessions = (one: Peer, more = {}, hasReflectors = false) =>
  computeNodeSessions(SELF, one, { ...BGP_DEFAULTS, ...more }, { hasReflectors });
const REFLECTOR = { backendData: { 4: { ASNumber: 64_512, RouteReflectorClusterID: '244.0.0.1' } } };

test('who speaks with whom: mesh, reflectors, other ASs', (t) => {
  const mesh = sessions(peer());
  t.like((mesh as object[])[0], { neighbour: '192.0.2.2', asNumber: 64_512, accepts: ['10.244.2.0/24'] });
  t.deepEqual(sessions(peer(), {}, true), [], 'with reflectors the mesh ends');
  t.is((sessions(peer(), { nodeMesh: 'on' }, true) as object[]).length, 1);
  t.deepEqual(sessions(peer(), { nodeMesh: 'off' }), []);
  t.like((sessions(peer(REFLECTOR), {}, true) as object[])[0], { accepts: 'pods', isReflectorClient: false });
  const ofReflector = { routeReflectorClusterId: '244.0.0.1' };
  t.like((sessions(peer(), ofReflector, true) as object[])[0], { isReflectorClient: true });
  t.like((sessions(peer(REFLECTOR), ofReflector, true) as object[])[0], { isReflectorClient: false });
  const other = peer({ backendData: { 4: { ASNumber: 65_001 } } });
  t.like((sessions(other, ofReflector, true) as object[])[0], { asNumber: 65_001, isReflectorClient: false });
  const both = peer({
    podCidrs: { 4: '10.244.2.0/24', 6: 'fd00:244:2::/64' },
    publicIps: { 4: '192.0.2.2', 6: '2001:db8::2' },
  });
  t.deepEqual(
    (sessions(both) as { family: number }[]).map(({ family }) => family),
    [4, 6],
  );
});

for (const [what, one, reason] of [
  ['another overlay', { backendType: 'vxlan' }, 'its overlay is vxlan, not bgp'],
  ['no overlay', { backendType: undefined }, 'its overlay is not known, not bgp'],
  [
    'our own pods',
    { podCidrs: { 4: '10.244.1.128/25' } },
    'its pod CIDR 10.244.1.128/25 overlaps with 10.244.1.0/24 of this node',
  ],
  ['our own address', { publicIps: { 4: '192.0.2.1' } }, 'its address 192.0.2.1 is an address of this node'],
  ['no CIDR', { podCidrs: { 4: 'x"; quit;' } }, 'its pod CIDR x"; quit; or its address 192.0.2.2 is malformed'],
  [
    'no address',
    { publicIps: { 4: '192.0.2.2; quit' } },
    'its pod CIDR 10.244.2.0/24 or its address 192.0.2.2; quit is malformed',
  ],
  ['no AS number', { backendData: { 4: { ASNumber: '1; quit' } } }, 'its annotation says ASNumber "1; quit"'],
] as [string, Partial<Peer>, string][])
  test(`a node that cannot be a peer: ${what}`, (t) => {
    t.deepEqual(sessions(peer(one)), { reason });
  });

test('the configuration: what may come in and go out, and nothing that a node says gets in as text', (t) => {
  const main = renderMain(SELF, BGP_DEFAULTS, 'secret');
  for (const line of [
    'router id 192.0.2.1;',
    'define OWN4 = [ 10.244.1.0/24+ ];',
    '  local 192.0.2.1 port 179 as 64512;',
    '  local 2001:db8::1 port 179 as 64512;',
    '  password "secret";',
    '    export where proto = "own4";',
    '  metric 959;',
  ])
    t.true(main.split('\n').includes(line), line);
  t.false(main.includes('rr cluster id'));
  t.true(
    renderMain(SELF, { ...BGP_DEFAULTS, routeReflectorClusterId: '244.0.0.1' }, undefined).includes(
      'rr cluster id 244.0.0.1;',
    ),
  );
  t.true(
    renderMain(
      { ...SELF, podCidrs: { 6: 'fd00::/64' }, publicIps: { 6: '2001:db8::a0b:c0d' } },
      BGP_DEFAULTS,
      undefined,
    ).includes('router id 10.11.12.13;'),
  );
  const [session] = sessions(peer({ node: 'n"; include "/etc/shadow' })) as Parameters<typeof renderSession>[0][];
  const text = renderSession(session!, BGP_DEFAULTS);
  t.false(text.includes('/etc/shadow'));
  t.true(text.includes('import where !(net ~ OWN4) && (net ~ [ 10.244.2.0/24+ ]);'));
  const [router] = computeRouterSessions(SELF, options({ Peers: ['192.0.2.254@64513'] }));
  t.true(renderSession(router!, BGP_DEFAULTS).includes('allow local as 1;'));
  t.true(renderSession(router!, BGP_DEFAULTS).includes('(net ~ PODS4)'));
  const networks = listPodNetworks(SELF, [peer(), peer({ podCidrs: { 4: 'nonsense' } })], 4);
  t.deepEqual(networks, ['10.244.1.0/24', '10.244.2.0/24']);
  t.is(renderNetworks({ 4: networks, 6: [] }), 'define PODS4 = [\n  10.244.1.0/24+,\n  10.244.2.0/24+\n];\n');
});

for (const [raw, message] of [
  [{ ASNumber: 0 }, /Backend\.ASNumber: 0 is not a whole number from 1/],
  [{ NodeMesh: true }, /Backend\.NodeMesh: true is not one of auto, on, off/],
  [{ RouteReflectorClusterID: '1' }, /RouteReflectorClusterID: "1" is not written as an IPv4 address/],
  [{ Peers: ['192.0.2.1'] }, /Backend\.Peers: "192\.0\.2\.1" is not ADDRESS@AS/],
  [{ Peers: ['tor@1'] }, /Backend\.Peers: "tor@1"/],
  [{ Include: ['a"b'] }, /Backend\.Include: "a\\"b" is not an absolute path/],
] as [Record<string, unknown>, RegExp][])
  test(`refused by name: ${JSON.stringify(raw)}`, (t) => {
    t.throws(() => options(raw), { message });
  });

test('passwords: the first line, never shown', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bgp-unit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'password');
  writeFileSync(file, 'open sesame\nmore\n');
  t.is(readPassword(file), 'open sesame');
  for (const text of ['', 'with "quotes"', 'x'.repeat(81)]) {
    writeFileSync(file, text);
    const error = t.throws(() => readPassword(file), { message: /its first line must have 1 to 80 bytes/ });
    t.false(text !== '' && error!.message.includes(text));
  }
});

test('files: only what differs is written, of mode 0600, and can be taken back', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bgp-unit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const files = openConfigFiles(folder);
  t.is(
    files.write(
      new Map([
        ['a.conf', 'one'],
        ['peers/b.conf', 'two'],
      ]),
    )!.changed,
    2,
  );
  t.is(statSync(join(folder, 'a.conf')).mode & 0o777, 0o600);
  t.is(files.write(new Map([['a.conf', 'one']])), undefined);
  const change = files.write(
    new Map<string, string | undefined>([
      ['a.conf', 'other'],
      ['peers/b.conf', undefined],
      ['peers/c.conf', 'new'],
    ]),
  )!;
  t.is(change.changed, 3);
  t.deepEqual(files.listPeers(), ['peers/c.conf']);
  change.undo();
  t.is(readFileSync(join(folder, 'a.conf'), 'utf8'), 'one');
  t.deepEqual(readdirSync(join(folder, 'peers')), ['b.conf']);
  t.is(
    openConfigFiles(folder).write(
      new Map([
        ['a.conf', 'one'],
        ['peers/b.conf', 'two'],
      ]),
    ),
    undefined,
    'found again',
  );
});

test('the control socket: answers in pieces, refusals, an end in the middle', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bgp-unit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'ctl');
  const answers: Record<string, string[]> = {
    'show status': ['1000-BIRD 2.0.12\n10', '11-Router ID\n Server time\n0013 Daemon is up\n'],
    configure: ['0002-Reading\n8002 bird.conf:11:57 syntax error\n'],
  };
  const server = createServer((socket) => {
    socket.write('0001 BIRD 2.0.12 ready.\n');
    socket.on('data', async (data) => {
      const pieces = answers[data.toString().trim()];
      if (!pieces) return socket.destroy();
      for (const piece of pieces) {
        socket.write(piece);
        await systemClock.sleep(20);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => server.close());
  const control = await openBirdControl(path, systemClock);
  t.is(control.greeting, 'BIRD 2.0.12 ready.');
  const both = await Promise.allSettled([control.ask('show status'), control.ask('configure')]);
  t.deepEqual((both[0] as PromiseFulfilledResult<unknown>).value, [
    { code: 1000, text: 'BIRD 2.0.12' },
    { code: 1011, text: 'Router ID' },
    { code: 1011, text: 'Server time' },
    { code: 13, text: 'Daemon is up' },
  ]);
  t.is(((both[1] as PromiseRejectedResult).reason as Error).message, 'bird: configure: bird.conf:11:57 syntax error');
  await t.throwsAsync(control.ask('quit'), { message: /bird has closed/ });
  await control.closed;
  await t.throwsAsync(openBirdControl(join(folder, 'none'), systemClock), { code: 'ENOENT' });
});

test('sessions as BIRD shows them', (t) => {
  const text = `Name       Proto      Table      State  Since         Info
kernel4    Kernel     master4    up     2026-11-20 21:11:58  
  Channel ipv4
    Routes:         9 imported, 2 exported, 9 preferred
node4_ab   BGP        ---        up     2026-11-20 21:12:00.123  Established   
  Description:    node-2.example
  Channel ipv4
    Routes:         3 imported, 1 exported, 3 preferred
node4_cd   BGP        ---        start  2026-11-20 21:12:00  Active        Socket: Connection refused`;
  t.deepEqual(parseSessions(text.split('\n').map((line) => ({ code: 1002, text: line }))), [
    {
      protocol: 'node4_ab',
      description: 'node-2.example',
      isEstablished: true,
      info: 'Established',
      importedRoutes: 3,
    },
    {
      protocol: 'node4_cd',
      description: 'node4_cd',
      isEstablished: false,
      info: 'Active        Socket: Connection refused',
      importedRoutes: 0,
    },
  ]);
});
