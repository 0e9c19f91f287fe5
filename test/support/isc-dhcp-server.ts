import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { debianProgramPath, iscDhcpServer } from '../../cli/testing/debian-program.ts';
import { findProgram } from '../../src/linux/exec.ts';
import { eventually } from './eventually.ts';
import type { TestNetns } from './netns.ts';

const program = debianProgramPath(CHECKOUT, iscDhcpServer);
export const hasIscDhcpServer = existsSync(program);

/** ISC's DHCP server, in a namespace whose link `srv0` has 10.5.0.1/24. */
export interface IscDhcpServer {
  log(): string;
  /** Ends it and starts one that knows of no lease. */
  forget(): Promise<void>;
}

export async function startIscDhcpServer(
  t: ExecutionContext,
  netns: TestNetns,
  { leaseSeconds }: { leaseSeconds: number },
): Promise<IscDhcpServer> {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcpd-'));
  const leases = join(folder, 'leases');
  writeFileSync(
    join(folder, 'conf'),
    `authoritative;
    min-lease-time 1;
    default-lease-time ${leaseSeconds};
    max-lease-time ${leaseSeconds};
    subnet 10.5.0.0 netmask 255.255.255.0 {
      range 10.5.0.20 10.5.0.60;
      option routers 10.5.0.1;
      option domain-name-servers 10.5.0.53;
    }\n`,
  );
  let child: ChildProcess | undefined;
  let text = '';

  async function stop(): Promise<void> {
    if (!child) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    child = undefined;
    await exited;
  }

  async function start(): Promise<void> {
    writeFileSync(leases, '');
    text = '';
    const files = ['-cf', join(folder, 'conf'), '-lf', leases, '-pf', join(folder, 'pid')];
    const started = spawn(
      findProgram('nsenter'),
      [`--net=${netns.path}`, program, '-4', '-f', '-d', ...files, 'srv0'],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    child = started;
    started.stderr!.on('data', (chunk) => (text += chunk));
    await eventually('the server listens', () => {
      if (started.exitCode !== null) throw new Error(`dhcpd ended: ${text}`);
      return /Server starting service/.test(text);
    });
  }

  t.teardown(async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await start();
  return {
    log: () => text,
    async forget() {
      await stop();
      await start();
    },
  };
}
