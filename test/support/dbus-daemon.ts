import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Host } from '../../cli/hosts/host.ts';

const PROGRAM = '/usr/bin/dbus-daemon';

/** Why no message bus can be had here; undefined when one can. */
export function whyNoDbus(): string | undefined {
  return existsSync(PROGRAM) ? undefined : 'no dbus-daemon';
}

export interface DbusDaemon {
  address: string;
  /** Ends it: who is connected is hung up on. */
  stop(): Promise<void>;
}

/** A real message bus of our own, on which everybody may own and call everything; its socket and configuration are in `folder`. */
export async function startDbusDaemon(folder: string): Promise<DbusDaemon> {
  const config = join(folder, 'bus.conf');
  writeFileSync(config, renderConfig(join(folder, 'bus.sock')));
  return follow(spawn(PROGRAM, [`--config-file=${config}`, ...FLAGS], STDIO));
}

/** The system bus of a host, which ends with the host. @returns the address by which it is reached from outside */
export async function startDbusDaemonInHost(host: Host): Promise<string> {
  const folder = '/run/dbus';
  mkdirSync(host.path(folder), { recursive: true });
  writeFileSync(host.path(`${folder}/bus.conf`), renderConfig(`${folder}/system_bus_socket`));
  await follow(host.spawn([PROGRAM, `--config-file=${folder}/bus.conf`, ...FLAGS], STDIO));
  return `unix:path=${host.path(`${folder}/system_bus_socket`)}`;
}

const FLAGS = ['--nofork', '--print-address=1', '--nopidfile'];
const STDIO: { stdio: StdioOptions } = { stdio: ['ignore', 'pipe', 'ignore'] };

function renderConfig(socket: string): string {
  return `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;
}

async function follow(daemon: ChildProcess): Promise<DbusDaemon> {
  const closed = once(daemon, 'close');
  const [address] = (await Promise.race([
    once(createInterface({ input: daemon.stdout! }), 'line'),
    closed.then(() => Promise.reject(new Error('dbus-daemon ended'))),
  ])) as [string];
  return {
    address,
    async stop() {
      daemon.kill('SIGKILL');
      await closed;
    },
  };
}
