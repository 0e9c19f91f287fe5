import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

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
  writeFileSync(
    config,
    `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${join(folder, 'bus.sock')}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`,
  );
  const daemon = spawn(PROGRAM, [`--config-file=${config}`, '--nofork', '--print-address=1', '--nopidfile'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const closed = once(daemon, 'close');
  const [address] = (await Promise.race([
    once(createInterface({ input: daemon.stdout }), 'line'),
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
