/** `dhcp` as a program with its daemon: ours, and the reference one of Debian, behind the bridge plugin and against a real server. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { renderLauncher } from '../../../cli/cni/install.ts';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { MESSAGE_TYPE, OPTION } from '../../../cni/ipam/dhcp/message.ts';
import { findProgram, hasProgram } from '../../../src/linux/exec.ts';
import { hearRequests } from '../../support/dhcp-requests.ts';
import { startDhcpServer } from '../../support/dhcp-server.ts';
import { eventually } from '../../support/eventually.ts';
import { listens } from '../../support/listens.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const reference = debianProgramPath(CHECKOUT, cniPlugins);
const ours = mkdtempSync(join(tmpdir(), 'berth-cni-'));
// As `berth cni install` makes them.
for (const type of ['bridge', 'macvlan', 'dhcp'])
  writeFileSync(join(ours, type), renderLauncher(type), { mode: 0o755 });
const OUR_DAEMON = [join(ours, 'dhcp'), 'daemon'] as const;
test.after.always(() => rmSync(ours, { recursive: true, force: true }));

const sets = [
  { set: 'ours', path: ours, daemon: OUR_DAEMON },
  {
    set: 'reference',
    path: existsSync(reference) ? reference : undefined,
    daemon: [join(reference, 'dhcp'), 'daemon'],
  },
] as const;

const WITHOUT_REFERENCE = ' (containernetworking-plugins of Debian could not be had)';

interface Daemon {
  child: ChildProcess;
  log(): string;
  /** Ends it in order. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** A host whose bridge has a wire to a DHCP server, and ways to call plugins and start daemons there. */
async function setUp(t: ExecutionContext, leaseSeconds = 600) {
  const server = await createTestNetns(t, 'server');
  const host = await createTestNetns(t, 'host');
  await host.ip('link', 'add', 'br0', 'up', 'type', 'bridge');
  await server.ip('link', 'add', 'srv0', 'type', 'veth', 'peer', 'name', 'uplink', 'netns', host.path);
  await host.ip('link', 'set', 'uplink', 'master', 'br0', 'up');
  await server.ip('address', 'add', '10.5.0.1/24', 'dev', 'srv0');
  await server.ip('link', 'set', 'srv0', 'up');
  const udhcpd = await startDhcpServer(t, server, { leaseSeconds });
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcp-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socket = '/dhcp.sock';
  const socketPath = join(folder, socket);

  const startDaemon = async (
    command: readonly string[],
    more: readonly string[] = [],
    prefix = '',
  ): Promise<Daemon> => {
    const args = [...command.slice(1), '-socketpath', socketPath, '-pidfile', join(folder, 'pid'), ...more];
    const child = spawn(findProgram('nsenter'), [`--net=${host.path}`, command[0]!, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr!.on('data', (chunk) => (text += chunk));
    const exited = once(child, 'exit');
    const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
      child.kill(signal);
      await exited;
    };
    t.teardown(() => stop('SIGKILL'));
    // One that was killed leaves its socket.
    await eventually(`the daemon listens: ${text}`, () => listens(prefix + socketPath));
    return { child, log: () => text, stop };
  };

  const call = (
    path: string,
    command: string,
    pod: TestNetns | undefined,
    id: string,
    extra: object = {},
    type = 'bridge',
  ) => {
    const ipam = { type: 'dhcp', daemonSocketPath: socketPath };
    const { status, stdout, stderr } = spawnSync(findProgram('nsenter'), [`--net=${host.path}`, join(path, type)], {
      env: {
        PATH: process.env['PATH'],
        CNI_COMMAND: command,
        CNI_CONTAINERID: id,
        CNI_NETNS: pod?.path ?? '',
        CNI_IFNAME: 'eth0',
        CNI_PATH: path,
        CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web-0',
      },
      input: JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'bridge', bridge: 'br0', ipam, ...extra }),
      encoding: 'utf8',
      timeout: 30_000,
    });
    t.is(status === 0 || stdout !== '', true, stderr);
    return { status, out: stdout.trim() === '' ? undefined : JSON.parse(stdout) };
  };
  return { server, host, udhcpd, folder, socketPath, startDaemon, call };
}

for (const plugin of sets)
  for (const keeper of sets) {
    const { path } = plugin;
    const can = path && keeper.path;
    const who = plugin === keeper ? plugin.set : `plugin ${plugin.set}, daemon ${keeper.set}`;
    const name = (title: string) => `${who}: ${title}${can ? '' : WITHOUT_REFERENCE}`;
    const story = can ? test : test.skip;

    story(name('a pod gets address and default route from the server, answers at it, and gives it back'), async (t) => {
      const { server, udhcpd, startDaemon, call, socketPath, folder } = await setUp(t);
      const pod = await createTestNetns(t, 'pod');
      const { stop } = await startDaemon(keeper.daemon);
      t.is(Number(readFileSync(join(folder, 'pid'), 'utf8')) > 1, true);
      const { out, status } = call(path!, 'ADD', pod, 'one');
      t.is(status, 0, JSON.stringify(out));
      t.regex(out.ips[0].address, /^10\.5\.0\.\d+\/24$/);
      t.is(out.ips[0].gateway, '10.5.0.1');
      t.deepEqual(
        out.routes.map(({ dst, gw }: { dst: string; gw: string }) => [dst, gw]),
        [['0.0.0.0/0', '10.5.0.1']],
      );
      const [ip] = out.ips[0].address.split('/');
      t.regex(await pod.ip('route'), /default via 10\.5\.0\.1 dev eth0/);
      await server.run('busybox', ['ping', '-c', '1', '-W', '20', ip]);
      t.is(call(path!, 'CHECK', pod, 'one', { prevResult: out }).status, 0);
      t.is(call(path!, 'DEL', pod, 'one', { prevResult: out }).status, 0);
      // The reference bridge of that age takes the link away before it asks for the release, which goes over the link.
      if (plugin.set === 'ours') await eventually('given back', async () => /expired/.test(await udhcpd.leases()));
      t.is(call(path!, 'DEL', pod, 'one').status, 0, 'again');
      t.notRegex(await pod.ip('link'), /eth0/);
      await stop();
      if (keeper.set === 'reference') return;
      t.false(existsSync(socketPath));
      t.false(existsSync(join(folder, 'pid')));
    });
  }

for (const { set, path, daemon } of sets) {
  const story = path ? test : test.skip;
  const name = (title: string) => `${set}: ${title}${path ? '' : WITHOUT_REFERENCE}`;

  story(name('a macvlan on the host’s wire gets its address through itself'), async (t) => {
    const { server, host, startDaemon, call } = await setUp(t);
    const pod = await createTestNetns(t, 'pod');
    await host.ip('link', 'set', 'uplink', 'nomaster');
    await startDaemon(daemon);
    const conf = { type: 'macvlan', master: 'uplink', mode: 'bridge' };
    const { out, status } = call(path!, 'ADD', pod, 'one', conf, 'macvlan');
    t.is(status, 0, JSON.stringify(out));
    await server.run('busybox', ['ping', '-c', '1', '-W', '20', out.ips[0].address.split('/')[0]]);
    t.is(call(path!, 'DEL', pod, 'one', { ...conf, prevResult: out }, 'macvlan').status, 0);
    t.notRegex(await pod.ip('link'), /eth0/);
  });

  story(name('a daemon in a container sees the host below a folder; answers are asked for by broadcast'), async (t) => {
    const { server, startDaemon, call, folder } = await setUp(t);
    const pod = await createTestNetns(t, 'pod');
    const prefix = join(folder, 'host');
    mkdirSync(join(prefix, folder), { recursive: true });
    // Where namespaces are named.
    symlinkSync('/run', join(prefix, 'run'));
    await startDaemon(daemon, ['-hostprefix', prefix, '-broadcast'], prefix);
    const requests = await hearRequests(t, server, 'srv0');
    const ipam = { type: 'dhcp', daemonSocketPath: join(prefix, folder, 'dhcp.sock') };
    const { out, status } = call(path!, 'ADD', pod, 'one', { ipam });
    t.is(status, 0, JSON.stringify(out));
    t.true(requests().every(({ broadcast }) => broadcast));
    t.is(call(path!, 'DEL', pod, 'one', { ipam }).status, 0);
  });
}

test('ours: without a daemon an ADD says whom to start and leaves nothing; a DEL goes through', async (t) => {
  const { call } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  const { out } = call(ours, 'ADD', pod, 'one');
  t.is(out.code, 50);
  t.regex(out.msg, /error dialing DHCP daemon: nobody listens on/);
  t.regex(out.details, /start 'dhcp daemon'/);
  t.notRegex(await pod.ip('link'), /eth0/);
  t.is(call(ours, 'DEL', pod, 'one').status, 0);
  t.is(call(ours, 'STATUS', undefined, '', { cniVersion: '1.1.0' }).out.code, 50);
});

test('ours: the daemon may be killed and started again: it goes on with the leases, renews and releases them', async (t) => {
  const { host, udhcpd, startDaemon, call, socketPath, folder } = await setUp(t, 4);
  const pod = await createTestNetns(t, 'pod');
  const command = OUR_DAEMON;
  const first = await startDaemon(command);
  t.is(statSync(socketPath).mode & 0o777, 0o600);
  const { out, status } = call(ours, 'ADD', pod, 'one');
  t.is(status, 0, JSON.stringify(out));
  const files = () => readdirSync(join(folder, 'dhcp'));
  t.is(files().length, 1);
  const second = spawnSync(findProgram('nsenter'), [`--net=${host.path}`, ...command, '-socketpath', socketPath], {
    encoding: 'utf8',
  });
  t.is(second.status, 1);
  t.regex(second.stderr, /another one listens on/);
  await first.stop('SIGKILL');
  t.true(existsSync(socketPath), 'killed: its socket stayed');
  await startDaemon(command);
  await eventually(
    'the socket is a new daemon’s',
    () => call(ours, 'STATUS', undefined, '', { cniVersion: '1.1.0' }).status === 0,
  );
  const acks = () => udhcpd.log().match(/sending ACK/gi)!.length;
  const before = acks();
  await eventually('renewed by the second', () => acks() > before);
  const conf = { prevResult: out };
  t.is(call(ours, 'CHECK', pod, 'one', conf).status, 0);
  t.is(call(ours, 'DEL', pod, 'one', conf).status, 0);
  await eventually('given back', async () => /expired/.test(await udhcpd.leases()));
  t.deepEqual(files(), []);
});

test('ours: GC releases the leases of what is in no list', async (t) => {
  const { udhcpd, startDaemon, call } = await setUp(t);
  await startDaemon(OUR_DAEMON);
  const pods = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
  const cniVersion = '1.1.0';
  for (const [index, pod] of pods.entries()) t.is(call(ours, 'ADD', pod, `c${index}`, { cniVersion }).status, 0);
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] };
  t.is(call(ours, 'GC', undefined, '', { cniVersion, ...valid }, 'dhcp').status, 0);
  await eventually('one given back', async () => (await udhcpd.leases()).match(/expired/g)?.length === 1);
});

const both = sets.every(({ path }) => path) ? test : test.skip;

both(
  'pods change over from one daemon to the other at their addresses, by a CHECK of either plugin, and back',
  async (t) => {
    const { startDaemon, call, udhcpd, folder, socketPath } = await setUp(t);
    const pods = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
    const results: { ips: { address: string }[] }[] = [];
    const theirs = await startDaemon([join(reference, 'dhcp'), 'daemon']);
    for (const [index, pod] of pods.entries()) {
      const { out, status } = call(reference, 'ADD', pod, `c${index}`);
      t.is(status, 0, JSON.stringify(out));
      results.push(out);
    }
    await theirs.stop();
    const checked = (path: string, index: number) => {
      const { status, out } = call(path, 'CHECK', pods[index]!, `c${index}`, { prevResult: results[index] }, 'dhcp');
      t.is(status, 0, JSON.stringify(out));
    };
    const files = () => readdirSync(join(folder, 'dhcp')).length;
    const mine = await startDaemon(OUR_DAEMON);
    checked(ours, 0);
    checked(reference, 1);
    t.is(files(), 2);
    const moved = { prevResult: { ...results[0], ips: results[1]!.ips } };
    t.regex(call(ours, 'CHECK', pods[0]!, 'c0', moved, 'dhcp').out.msg, /the lease is of .*, the container has/);
    await mine.stop();
    rmSync(socketPath, { force: true });
    const again = await startDaemon([join(reference, 'dhcp'), 'daemon']);
    checked(ours, 0);
    checked(reference, 1);
    t.is(call(ours, 'STATUS', undefined, '', { cniVersion: '1.1.0' }, 'dhcp').status, 0);
    const valid = { cniVersion: '1.1.0', 'cni.dev/valid-attachments': [] };
    t.is(call(ours, 'GC', undefined, '', valid, 'dhcp').status, 0, 'it has none');
    await again.stop();
    rmSync(socketPath, { force: true });
    await startDaemon(OUR_DAEMON);
    for (const [index, pod] of pods.entries())
      t.is(call(ours, 'DEL', pod, `c${index}`, { prevResult: results[index] }, 'dhcp').status, 0);
    await eventually('both given back', async () => (await udhcpd.leases()).match(/expired/g)?.length === 2);
    t.is(files(), 0);
  },
);

both('what goes wrong in a daemon is told by either plugin, with a code where both are ours', async (t) => {
  const { startDaemon, call, socketPath } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  const failed = (path: string) => {
    const { out, status } = call(path, 'ADD', pod, 'one', {}, 'dhcp');
    t.is(status, 1);
    return [out.code, out.msg];
  };
  const mine = await startDaemon(OUR_DAEMON);
  const message = `dhcp: there is no link eth0 in ${pod.path}`;
  t.deepEqual(failed(ours), [8, message]);
  t.deepEqual(failed(reference), [999, `error calling DHCP.Allocate: ${message}`]);
  await mine.stop();
  await startDaemon([join(reference, 'dhcp'), 'daemon']);
  t.deepEqual(failed(ours), [0, `error looking up "eth0": Link not found (the DHCP daemon on ${socketPath})`]);
});

both(
  'a daemon that stands in for the reference one takes over the pods that a runtime has, without any CHECK',
  async (t) => {
    const { startDaemon, call, udhcpd, folder, socketPath } = await setUp(t, 4);
    const pod = await createTestNetns(t, 'pod');
    const theirs = await startDaemon([join(reference, 'dhcp'), 'daemon']);
    const ipam = { type: 'dhcp', daemonSocketPath: socketPath };
    const { out, status } = call(reference, 'ADD', pod, 'one');
    t.is(status, 0, JSON.stringify(out));
    // As libcni of CNI 1.0 writes it: the namespace's path is in the result.
    const attachment = {
      kind: 'cniCacheV1',
      containerId: 'one',
      ifName: 'eth0',
      networkName: 'net',
      config: Buffer.from(JSON.stringify({ name: 'net', plugins: [{ type: 'bridge', ipam }] })).toString('base64'),
      result: out,
    };
    const cache = join(folder, 'cni');
    mkdirSync(join(cache, 'results'), { recursive: true });
    writeFileSync(join(cache, 'results/net-one-eth0'), JSON.stringify(attachment));
    await theirs.stop();
    await startDaemon(OUR_DAEMON, ['-cachedir', cache]);
    await eventually(
      'taken over',
      () => existsSync(join(folder, 'dhcp')) && readdirSync(join(folder, 'dhcp')).length === 1,
    );
    const acks = () => udhcpd.log().match(/sending ACK/gi)!.length;
    const before = acks();
    await eventually('renewed', () => acks() > before);
    t.is(call(ours, 'CHECK', pod, 'one', { prevResult: out }).status, 0);
  },
);

both('a server is asked the same, whoever asks: options of the configuration and of CNI_ARGS', async (t) => {
  const heard: [code: number, value: string][][] = [];
  const theirDaemon = [join(reference, 'dhcp'), 'daemon'];
  const provide = [
    { option: 'host-name', value: 'unknown', fromArg: 'K8S_POD_NAME' },
    { option: 'vendor-class-identifier', value: 'berth' },
    { option: '77', fromArg: 'ABSENT' },
  ];
  const request = [{ skipDefault: true, option: 'routers' }, { option: '1' }, { option: '15' }];
  for (const [plugin, daemon] of [
    [ours, OUR_DAEMON],
    [reference, OUR_DAEMON],
    [ours, theirDaemon],
  ] as const) {
    const { server, startDaemon, call, socketPath } = await setUp(t);
    const pod = await createTestNetns(t, 'pod');
    const { stop } = await startDaemon(daemon);
    const requests = await hearRequests(t, server, 'srv0');
    const ipam = { type: 'dhcp', daemonSocketPath: socketPath, provide, request };
    const { out, status } = call(plugin, 'ADD', pod, 'one', { ipam });
    t.is(status, 0, JSON.stringify(out));
    const [discover] = requests();
    t.is(discover!.options.get(OPTION.messageType)![0], MESSAGE_TYPE.discover);
    // 61, 12, 60 and 77 as text; the list of what is asked for in any order.
    heard.push(
      [OPTION.clientIdentifier, OPTION.hostName, OPTION.vendorClass, OPTION.userClass].map((code) => [
        code,
        Buffer.from(discover!.options.get(code) ?? []).toString('latin1'),
      ]),
      [[OPTION.parameterRequestList, [...discover!.options.get(OPTION.parameterRequestList)!].sort().join()]],
    );
    await stop();
  }
  const expected = [
    [
      [61, '\0one/net/eth0'],
      [12, 'web-0'],
      [60, 'berth'],
      [77, ''],
    ],
    [[55, '1,15,3']],
  ];
  t.deepEqual(heard, [...expected, ...expected, ...expected]);
});

const activate = hasProgram('systemd-socket-activate') ? test : test.skip;

activate(
  'ours: systemd may hold the socket: the daemon starts with the first question, and leaves the socket alone',
  async (t) => {
    const { call, socketPath, host } = await setUp(t);
    const activator = spawn(
      findProgram('systemd-socket-activate'),
      ['-l', socketPath, findProgram('nsenter'), `--net=${host.path}`, ...OUR_DAEMON, '-socketpath', socketPath],
      { stdio: 'ignore' },
    );
    const exited = once(activator, 'exit');
    t.teardown(async () => {
      activator.kill('SIGKILL');
      await exited;
    });
    await eventually('somebody listens', () => existsSync(socketPath));
    const pod = await createTestNetns(t, 'pod');
    const { out, status } = call(ours, 'ADD', pod, 'one');
    t.is(status, 0, JSON.stringify(out));
    t.is(call(ours, 'DEL', pod, 'one').status, 0);
    activator.kill('SIGTERM');
    await exited;
    t.true(existsSync(socketPath));
  },
);
