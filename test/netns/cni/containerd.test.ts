/** Our plugins under another runtime: Debian's containerd, whose `ctr run --cni` calls them through libcni from the usual folders. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { renderLauncher } from '../../../cli/cni/install.ts';
import { parseAttachment, renderAttachment } from '../../../cni/invoke/attachment-cache.ts';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import { ownPlugins } from '../../../cni/programs/all.ts';
import { run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/agent.ts';

const PROGRAMS = ['/usr/bin/containerd', '/usr/bin/ctr', '/usr/sbin/runc', '/bin/busybox'];
const missing = PROGRAMS.find((program) => !existsSync(program));
const story = missing ? test.serial.skip : test.serial;
const title = (text: string) => (missing ? `${text} (no ${missing} here)` : text);

// Those that `ctr` cannot be told: this host's own.
const CONF_DIR = '/etc/cni/net.d';
const BIN_DIR = '/opt/cni/bin';
const CACHE = '/var/lib/cni/results';
const base = mkdtempSync(join(tmpdir(), 'berth-containerd-'));
const socket = join(base, 'containerd.sock');
const recorded = join(base, 'recorded');
const rootfs = join(base, 'rootfs');
let daemon: ChildProcess | undefined;

if (missing) test(`skipped: no ${missing}`, (t) => t.pass());
else {
  test.before(async () => {
    for (const folder of [CONF_DIR, BIN_DIR, join(rootfs, 'bin'), join(rootfs, 'proc')])
      mkdirSync(folder, { recursive: true });
    cpSync('/bin/busybox', join(rootfs, 'bin/busybox'));
    for (const applet of ['sh', 'ip', 'sleep', 'ping']) symlinkSync('busybox', join(rootfs, 'bin', applet));
    for (const type of ownPlugins({ run, sleep: async () => {} }).keys())
      writeFileSync(join(BIN_DIR, type), renderLauncher(type), { mode: 0o755 });
    // At the end of the chain: keeps what libcni gives, and passes it on.
    writeFileSync(
      join(BIN_DIR, 'recorder'),
      `#!/bin/sh\ncat >${recorded}.$CNI_COMMAND\n[ "$CNI_COMMAND" != ADD ] || sed 's/.*"prevResult":\\({.*}\\),"type".*/\\1/' ${recorded}.ADD\n`,
      { mode: 0o755 },
    );
    const bridge = {
      type: 'bridge',
      bridge: 'ctr0',
      isDefaultGateway: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.19.0.0/24' }]] },
    };
    const portmap = { type: 'portmap', capabilities: { portMappings: true } };
    const plugins = [bridge, portmap, { type: 'recorder' }];
    writeFileSync(join(CONF_DIR, '10-ctr.conflist'), JSON.stringify({ cniVersion: '1.0.0', name: 'ctrnet', plugins }));
    const config = join(base, 'config.toml');
    writeFileSync(config, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n');
    const argv = [
      '--config',
      config,
      '--address',
      socket,
      '--root',
      join(base, 'root'),
      '--state',
      join(base, 'state'),
    ];
    daemon = spawn('/usr/bin/containerd', argv, { stdio: 'ignore' });
    await eventually(
      'containerd answers',
      () =>
        ctr('version').then(
          () => true,
          () => false,
        ),
      20_000,
    );
  });
  test.after.always(async () => {
    if (daemon) {
      daemon.kill('SIGTERM');
      await once(daemon, 'exit');
    }
    rmSync(base, { recursive: true, force: true });
  });
}

const ctr = async (...args: string[]) =>
  (await run('ctr', ['--address', socket, ...args], { timeoutMs: 20_000 })).stdout;
/** `ctr run --cni`, to the end of the container. */
const container = (id: string, ...command: string[]) =>
  ctr('run', '--rm', '--cni', '--env', 'PATH=/bin', '--rootfs', rootfs, id, ...command);
const files = (folder: string, wanted: RegExp) =>
  existsSync(folder) ? readdirSync(folder).filter((name) => wanted.test(name)) : [];
const leases = () => files('/var/lib/cni/networks/ctrnet', /^\d+\./);
const cached = () => files(CACHE, /^ctrnet-/);
const lastRecorded = (command: string) => JSON.parse(readFileSync(`${recorded}.${command}`, 'utf8'));

story(title('containerd: a container has address and route of our plugins, and leaves nothing'), async (t) => {
  const shown = await container('one', '/bin/sh', '-c', 'ip -4 address show eth0; ip route; ping -c1 -W2 10.19.0.1');
  t.regex(shown, /inet 10\.19\.0\.2\/24/);
  t.regex(shown, /default via 10\.19\.0\.1 dev eth0/);
  t.regex(shown, /1 packets received/);
  t.deepEqual([leases(), cached()], [[], []]);
  t.notRegex((await run('ip', ['link'])).stdout, /veth/);
  const { prevResult } = lastRecorded('DEL');
  t.is(prevResult.ips[0].address, '10.19.0.2/24');
});

story(title('libcni’s cache is read by ours, and ours by libcni'), async (t) => {
  const running = container('two', '/bin/sleep', '3');
  await eventually('it is attached', () => cached().length === 1, 15_000);
  const file = join(CACHE, cached()[0]!);
  await eventually('it is written', () => readFileSync(file, 'utf8').endsWith('}'));
  const theirs = parseAttachment(readFileSync(file, 'utf8'))!;
  t.like(theirs, { network: 'ctrnet', ifname: 'eth0', isOurs: false });
  t.is(JSON.parse(theirs.configuration!).plugins.length, 3);
  writeFileSync(file, renderAttachment({ ...theirs, isOurs: true }));
  rmSync(`${recorded}.DEL`);
  await running;
  t.is(
    lastRecorded('DEL').prevResult.ips[0].address,
    theirs.result && '10.19.0.3/24',
    'what it gave back came from our file',
  );
  t.deepEqual([leases(), cached()], [[], []]);
});

story(
  title('containerd’s living containers are spared by the agent’s collection; a dead one’s network is released'),
  async (t) => {
    const running = container('three', '/bin/sleep', '60').catch(() => '');
    await eventually('it is attached', () => cached().length === 1 && leases().length === 1, 15_000);
    const deps = { log: silentLogger, clock: systemClock };
    const network = createPodNetwork({ mode: 'directory', podCidrs: () => [] }, deps);
    t.teardown(() => network.close());
    t.deepEqual(network.status(), { ready: true });
    await network.collect(new Set());
    t.is(leases().length, 1, 'spared');
    const [attachment] = cached();
    // As after a reboot: this libcni does not say where the namespace was.
    utimesSync(join(CACHE, attachment!), 1000, 1000);
    const restarted = createPodNetwork({ mode: 'directory', podCidrs: () => [] }, deps);
    t.teardown(() => restarted.close());
    await restarted.collect(new Set());
    t.deepEqual([leases(), cached()], [[], []]);
    await ctr('task', 'kill', '-s', 'SIGKILL', 'three');
    await running;
  },
);
