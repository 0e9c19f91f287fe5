/** Plugins as programs: the same calls to ours and to the reference plugins of Debian, with each other's files. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { renderLauncher } from '../../../cli/cni/install.ts';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { ownPlugins } from '../../../cni/programs/all.ts';
import { LAUNCHER_MARK } from '../../../cni/wire/own-launcher.ts';
import { run } from '../../../src/linux/exec.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const reference = debianProgramPath(CHECKOUT, cniPlugins);
const ours = mkdtempSync(join(tmpdir(), 'berth-cni-'));
// Without the mark they are programs to each other, as those of two makers are.
for (const type of ownPlugins({ run, sleep: async () => {} }).keys())
  writeFileSync(join(ours, type), renderLauncher(type).replace(LAUNCHER_MARK, '#'), { mode: 0o755 });
test.after.always(() => rmSync(ours, { recursive: true, force: true }));

const sets: [string, string | undefined][] = [
  ['ours', ours],
  ['reference', existsSync(reference) ? reference : undefined],
];

interface Call {
  command: string;
  conf?: object;
  id?: string;
  pod?: TestNetns;
  netns?: string;
  ifname?: string;
  args?: string;
  env?: Record<string, string>;
}

interface Outcome {
  status: number | null;
  // biome-ignore lint/suspicious/noExplicitAny: what the program printed
  out: any;
}

/** A host's namespace, and a way to call a set's plugins in it. */
async function setUp(t: ExecutionContext, path: string) {
  const host = await createTestNetns(t, 'host');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const call = (type: string, what: Call, from = path): Outcome => {
    const env = {
      PATH: process.env['PATH'],
      CNI_COMMAND: what.command,
      CNI_CONTAINERID: what.id ?? '',
      CNI_NETNS: what.netns ?? what.pod?.path ?? '',
      CNI_IFNAME: what.ifname ?? (what.id ? 'eth0' : ''),
      CNI_PATH: from,
      CNI_ARGS: what.args ?? '',
      ...what.env,
    };
    const input = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type, ...what.conf });
    const argv = ['nsenter', `--net=${host.path}`, join(from, type)];
    const { status, stdout, stderr } = spawnSync(argv[0]!, argv.slice(1), {
      env,
      input,
      encoding: 'utf8',
      timeout: 20_000,
    });
    t.is(status === 0 || stdout !== '', true, stderr);
    return { status, out: stdout.trim() === '' ? undefined : JSON.parse(stdout) };
  };
  const bridgeConf = (extra: object = {}) => ({
    bridge: 'br0',
    isGateway: true,
    ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.9.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
    ...extra,
  });
  const leases = () => readdirSync(join(dataDir, 'net')).filter((name) => /^\d+\./.test(name));
  return { host, dataDir, call, bridgeConf, leases };
}

for (const [set, path] of sets) {
  const story = path ? test : test.skip;
  const name = (title: string) =>
    `${set}: ${title}${path ? '' : ' (containernetworking-plugins of Debian could not be had)'}`;

  story(name('ADD gives an interface, an address and a route; CHECK agrees; DEL leaves nothing, twice'), async (t) => {
    const { host, call, bridgeConf, leases } = await setUp(t, path!);
    const pod = await createTestNetns(t, 'pod');
    const added = call('bridge', { command: 'ADD', id: 'one', pod, conf: bridgeConf() });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.is(added.out.cniVersion, '1.0.0');
    t.deepEqual(
      added.out.interfaces.map(({ name, sandbox }: { name: string; sandbox?: string }) => [
        name.replace(/^veth.*/, 'veth'),
        sandbox ?? '',
      ]),
      [
        ['br0', ''],
        ['veth', ''],
        ['eth0', pod.path],
      ],
    );
    t.deepEqual(added.out.ips, [{ interface: 2, address: '10.9.0.2/24', gateway: '10.9.0.1' }]);
    t.is(added.out.routes[0].dst, '0.0.0.0/0');
    t.regex(await pod.ip('route'), /default via 10\.9\.0\.1 dev eth0/);
    t.regex(await host.ip('-o', 'address', 'show', 'dev', 'br0'), /10\.9\.0\.1\/24/);
    const conf = bridgeConf({ prevResult: added.out });
    t.is(call('bridge', { command: 'CHECK', id: 'one', pod, conf }).status, 0);
    await pod.ip('address', 'flush', 'dev', 'eth0');
    t.not(call('bridge', { command: 'CHECK', id: 'one', pod, conf }).status, 0, 'the address is missed');
    t.deepEqual(leases(), ['10.9.0.2']);
    for (const _ of [1, 2]) t.is(call('bridge', { command: 'DEL', id: 'one', pod, conf }).status, 0);
    t.deepEqual(leases(), []);
    t.notRegex(await pod.ip('link'), /eth0/);
    t.notRegex(await host.ip('link'), /veth/);
  });

  story(name('DEL works when the namespace is gone, and for a container that nobody knows'), async (t) => {
    const { call, bridgeConf, leases } = await setUp(t, path!);
    const pod = await createTestNetns(t, 'pod');
    t.is(call('bridge', { command: 'ADD', id: 'one', pod, conf: bridgeConf() }).status, 0);
    t.is(call('bridge', { command: 'DEL', id: 'stranger', conf: bridgeConf() }).status, 0);
    t.deepEqual(leases(), ['10.9.0.2']);
    t.is(call('bridge', { command: 'DEL', id: 'one', conf: bridgeConf() }).status, 0);
    t.deepEqual(leases(), []);
  });

  story(name('results are as old as the configuration asks'), async (t) => {
    const { call, bridgeConf } = await setUp(t, path!);
    const pod = await createTestNetns(t, 'pod');
    const shapes: Record<string, unknown> = {};
    for (const cniVersion of ['0.2.0', '0.3.1', '0.4.0', '1.0.0']) {
      const { out } = call('bridge', {
        command: 'ADD',
        id: cniVersion,
        pod,
        ifname: `e${cniVersion}`,
        conf: bridgeConf({ cniVersion }),
      });
      shapes[cniVersion] = [
        out.cniVersion,
        Object.keys(out).filter((key) => key.startsWith('ip')),
        out.ips?.[0]?.version,
      ];
    }
    t.deepEqual(shapes, {
      '0.2.0': ['0.2.0', ['ip4'], undefined],
      '0.3.1': ['0.3.1', ['ips'], '4'],
      '0.4.0': ['0.4.0', ['ips'], '4'],
      '1.0.0': ['1.0.0', ['ips'], undefined],
    });
  });

  story(name('errors have their codes: environment, version, netns, configuration, a full range'), async (t) => {
    const { call, bridgeConf } = await setUp(t, path!);
    const pod = await createTestNetns(t, 'pod');
    const codeOf = ({ status, out }: Outcome) => (status === 0 ? 'ok' : out.code);
    t.is(codeOf(call('bridge', { command: 'ADD', id: '', pod, conf: bridgeConf() })), 4);
    t.is(codeOf(call('bridge', { command: 'ADD', id: 'no/id', pod, conf: bridgeConf() })), 4);
    t.is(
      codeOf(call('bridge', { command: 'ADD', id: 'one', pod, ifname: 'far-too-long-a-name', conf: bridgeConf() })),
      4,
    );
    t.is(codeOf(call('bridge', { command: 'ADD', id: 'one', pod, conf: bridgeConf({ cniVersion: '9.9.9' }) })), 1);
    t.is(codeOf(call('bridge', { command: 'NONSENSE', id: 'one', pod, conf: bridgeConf() })), 4);
    t.not(codeOf(call('bridge', { command: 'ADD', id: 'one', netns: '/run/netns/none', conf: bridgeConf() })), 'ok');
    const tiny = (subnet: string) => bridgeConf({ ipam: { ...bridgeConf().ipam, ranges: [[{ subnet }]] } });
    t.not(codeOf(call('bridge', { command: 'ADD', id: 'one', pod, conf: tiny('10.9.9.0/31') })), 'ok');
    // The reference plugin leaves the veth of a failed ADD behind.
    const fresh = await createTestNetns(t, 'fresh');
    t.is(codeOf(call('bridge', { command: 'ADD', id: 'one', pod: fresh, conf: tiny('10.9.9.0/30') })), 'ok');
    const other = await createTestNetns(t, 'other');
    const full = call('bridge', { command: 'ADD', id: 'two', pod: other, conf: tiny('10.9.9.0/30') });
    t.not(full.status, 0);
    t.regex(full.out.msg, /no IP addresses available in range set: 10\.9\.9\.1-10\.9\.9\.2/);
    if (set === 'ours') t.notRegex(await other.ip('link'), /eth0/, 'nothing half-made stays');
  });

  story(name('VERSION tells the versions; lo comes up; static gives what is written'), async (t) => {
    const { call } = await setUp(t, path!);
    const pod = await createTestNetns(t, 'pod');
    const { out } = call('bridge', { command: 'VERSION' });
    for (const version of ['0.3.1', '0.4.0', '1.0.0']) t.true(out.supportedVersions.includes(version), version);
    await pod.ip('link', 'set', 'lo', 'down');
    t.is(call('loopback', { command: 'ADD', id: 'one', pod, ifname: 'lo' }).status, 0);
    t.regex(await pod.ip('link', 'show', 'lo'), /UP/);
    const ipam = { type: 'static', addresses: [{ address: '10.7.0.9/24', gateway: '10.7.0.1' }] };
    const given = call('static', { command: 'ADD', id: 'one', pod, conf: { ipam } });
    t.is(given.out.ips[0].address, '10.7.0.9/24');
    const asked = call('static', {
      command: 'ADD',
      id: 'one',
      pod,
      conf: { ipam },
      args: 'IP=10.7.0.8/24;GATEWAY=10.7.0.1',
    });
    t.is(asked.out.ips.at(-1).address, '10.7.0.8/24');
  });
}

const both = sets.every(([, path]) => path) ? test : test.skip;

both('pods of one set are detached by the other: leases and links are each other’s, either way', async (t) => {
  for (const [maker, remover] of [
    [ours, reference],
    [reference, ours],
  ] as const) {
    const { call, bridgeConf, leases } = await setUp(t, maker);
    const pods = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
    t.is(call('bridge', { command: 'ADD', id: 'one', pod: pods[0], conf: bridgeConf() }).status, 0);
    const second = call('bridge', { command: 'ADD', id: 'two', pod: pods[1], conf: bridgeConf() }, remover);
    t.is(second.out.ips[0].address, '10.9.0.3/24', 'no address twice');
    await pods[1]!.run('busybox', ['ping', '-c', '1', '-W', '20', '10.9.0.2']);
    t.is(call('bridge', { command: 'DEL', id: 'one', pod: pods[0], conf: bridgeConf() }, remover).status, 0);
    t.deepEqual(leases(), ['10.9.0.3']);
    t.notRegex(await pods[0]!.ip('link'), /eth0/);
  }
});

test('ours calls any address manager of CNI_PATH, with the whole configuration; its error is told as it is', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-cni-ipam-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(folder, { recursive: true });
  const answer = '{"cniVersion":"1.0.0","ips":[{"address":"10.6.0.2/24","gateway":"10.6.0.1"}]}';
  writeFileSync(
    join(folder, 'theirs'),
    `#!/bin/sh\ncat >>${folder}/seen; echo "$CNI_COMMAND" >>${folder}/commands; echo '${answer}'\n`,
    { mode: 0o755 },
  );
  writeFileSync(
    join(folder, 'broken'),
    `#!/bin/sh\necho '{"code":11,"msg":"come again","details":"later"}'; exit 1\n`,
    { mode: 0o755 },
  );
  const { call, bridgeConf } = await setUp(t, ours);
  const pod = await createTestNetns(t, 'pod');
  const env = { CNI_PATH: `${ours}:${folder}` };
  const conf = bridgeConf({ ipam: { type: 'theirs', key: 'value' } });
  const { out } = call('bridge', { command: 'ADD', id: 'one', pod, conf, env });
  t.is(out.ips[0].address, '10.6.0.2/24');
  t.is(call('bridge', { command: 'DEL', id: 'one', pod, conf, env }).status, 0);
  t.deepEqual(readFileSync(join(folder, 'commands'), 'utf8').trim().split('\n'), ['ADD', 'DEL']);
  t.regex(readFileSync(join(folder, 'seen'), 'utf8'), /"key":"value"/);
  const failed = call('bridge', {
    command: 'ADD',
    id: 'two',
    pod,
    conf: bridgeConf({ ipam: { type: 'broken' } }),
    env,
  });
  t.deepEqual([failed.out.code, failed.out.details], [11, 'later']);
  const none = call('bridge', { command: 'ADD', id: 'two', pod, conf: bridgeConf({ ipam: { type: 'nobody' } }), env });
  t.regex(none.out.msg, /failed to find plugin "nobody"/);
  const vlan = call('bridge', { command: 'ADD', id: 'two', pod, conf: bridgeConf({ vlan: 7 }) });
  t.deepEqual([vlan.out.code, /vlan/.test(vlan.out.msg)], [2, true], 'what ours does not have is refused by name');
});

test('ours: GC releases what is in no list, STATUS says whether addresses can be kept (CNI 1.1)', async (t) => {
  const { call, bridgeConf, leases } = await setUp(t, ours);
  const pods = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
  const conf = bridgeConf({ cniVersion: '1.1.0' });
  for (const [index, pod] of pods.entries())
    t.is(call('bridge', { command: 'ADD', id: `c${index}`, pod, conf }).status, 0);
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] };
  t.is(call('bridge', { command: 'GC', conf: { ...conf, ...valid } }).status, 0);
  t.deepEqual(leases(), ['10.9.0.3']);
  t.is(call('bridge', { command: 'STATUS', conf }).status, 0);
  const unusable = call('bridge', {
    command: 'STATUS',
    conf: { ...conf, ipam: { ...conf.ipam, dataDir: '/etc/passwd/nowhere' } },
  });
  t.is(unusable.out.code, 50);
});

test('ours: what a runtime’s own Node.js was told is not for its plugins', async (t) => {
  const { call } = await setUp(t, ours);
  const { status, out } = call('bridge', { command: 'VERSION', env: { NODE_OPTIONS: '--require=/nowhere' } });
  t.deepEqual([status, out.cniVersion], [0, '1.0.0']);
});

test('ours: a person who starts one is told what it is; input that cannot be read is an error of CNI’s', (t) => {
  const start = (input: number | 'ignore', env: Record<string, string>) =>
    spawnSync(join(ours, 'bridge'), { env: { PATH: process.env['PATH'], ...env }, stdio: [input, 'pipe', 'pipe'] });
  const told = start('ignore', {});
  t.is(told.status, 0);
  t.is(told.stdout.toString(), '');
  t.regex(told.stderr.toString(), /^CNI bridge plugin of Berth.*\nCNI protocol versions supported: .*, 1\.1\.0\n$/);

  const folder = openSync(tmpdir(), 'r');
  const unread = start(folder, { CNI_COMMAND: 'ADD' });
  closeSync(folder);
  t.is(unread.status, 1);
  const { code, msg } = JSON.parse(unread.stdout.toString());
  t.deepEqual([code, /EISDIR/.test(msg)], [5, true]);
});

test('ours: a launcher of an older `berth cni install` starts the same programs', (t) => {
  const start = (type: string) =>
    spawnSync(process.execPath, [join(CHECKOUT, '.toolchain/bundle/berth-cni.mjs'), type], {
      env: { CNI_COMMAND: 'VERSION' },
      encoding: 'utf8',
    });
  t.is(JSON.parse(start('host-local').stdout).cniVersion, '1.1.0');
  const unknown = start('../berth');
  t.deepEqual([unknown.status, unknown.stdout], [1, '']);
});
