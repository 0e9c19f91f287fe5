import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { debianProgramPath, firewalld } from '../../cli/testing/debian-program.ts';
import { FIREWALLD_NAME, FIREWALLD_PATH } from '../../cni/firewall/firewalld.ts';
import { openBus } from '../../src/dbus/bus.ts';
import { findProgram } from '../../src/linux/exec.ts';
import { inNetns } from '../../src/linux/netns.ts';
import { eventually } from './eventually.ts';
import type { TestNetns } from './netns.ts';

const FOLDER = debianProgramPath(CHECKOUT, firewalld);
const PYTHON = '/usr/bin/python3';

/** Why Debian's firewalld cannot run here; undefined when it can. */
export function whyNoFirewalld(): string | undefined {
  if (!existsSync(PYTHON)) return 'no python3';
  return existsSync(FOLDER) ? undefined : 'no firewalld';
}

export interface RealFirewalld {
  /** Of a zone, in order. */
  sources(zone: string): Promise<string[]>;
  /** As an administrator does it. */
  addSource(zone: string, source: string): Promise<void>;
  /** Forgets what is not in its files. */
  reload(): Promise<void>;
  /** Ends it as a service manager does: it takes its rules along. */
  stop(): Promise<void>;
}

/** Debian's firewalld on a bus of the test's, over a host's namespace. Its configuration is in `folder`, and empty: the defaults. */
export async function startRealFirewalld(
  host: TestNetns,
  options: { folder: string; busAddress: string; backend: 'nftables' | 'iptables' },
): Promise<RealFirewalld> {
  const { folder, busAddress, backend } = options;
  const configuration = join(folder, 'firewalld');
  mkdirSync(configuration, { recursive: true });
  writeFileSync(join(configuration, 'firewalld.conf'), `FirewallBackend=${backend}\nCleanupModulesOnExit=no\n`);
  const libraries = join(FOLDER, 'lib/x86_64-linux-gnu');
  const env = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    DBUS_SYSTEM_BUS_ADDRESS: busAddress,
    PYTHONPATH: join(FOLDER, 'lib/python3/dist-packages'),
    PYTHONDONTWRITEBYTECODE: '1',
    LD_LIBRARY_PATH: libraries,
    GI_TYPELIB_PATH: join(libraries, 'girepository-1.0'),
  };
  const args = [
    join(FOLDER, 'sbin/firewalld'),
    '--nofork',
    '--nopid',
    `--default-config=${join(FOLDER, 'lib/firewalld')}`,
    `--system-config=${configuration}`,
    '--log-target=console',
  ];
  const daemon = inNetns(host.path, () => spawn(findProgram(PYTHON), args, { env, stdio: ['ignore', 'pipe', 'pipe'] }));
  let said = '';
  for (const stream of [daemon.stdout!, daemon.stderr!]) stream.on('data', (text) => (said += text));
  const closed = once(daemon, 'close');
  const call = async (to: string, member: string, body: string[]) => {
    const bus = await openBus(busAddress);
    const signature = body.map(() => 's').join('');
    try {
      const target = { destination: FIREWALLD_NAME, path: FIREWALLD_PATH, interface: to, member };
      return (await bus.call({ ...target, ...(signature !== '' && { signature, body }) })).body[0];
    } finally {
      bus.close();
    }
  };
  const zone = `${FIREWALLD_NAME}.zone`;
  const state = () =>
    call('org.freedesktop.DBus.Properties', 'Get', [FIREWALLD_NAME, 'state']).catch(() => 'not on the bus');
  const stop = async () => {
    daemon.kill('SIGTERM');
    await closed;
  };
  try {
    await eventually('firewalld is running', async () => {
      if (daemon.exitCode !== null) throw new Error(`firewalld ended: ${said}`);
      return (await state()) === 'RUNNING';
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    async sources(name) {
      return ((await call(zone, 'getSources', [name])) as string[]).toSorted();
    },
    async addSource(name, source) {
      await call(zone, 'addSource', [name, source]);
    },
    async reload() {
      await call(FIREWALLD_NAME, 'reload', []);
    },
    stop,
  };
}
