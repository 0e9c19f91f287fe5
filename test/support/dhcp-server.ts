import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { findProgram, run } from '../../src/linux/exec.ts';
import type { TestNetns } from './netns.ts';

/** BusyBox's DHCP server, in a namespace whose link `srv0` has 10.5.0.1/24. */
export interface DhcpServer {
  /** Lines that it has written so far: what it was asked and what it gave. */
  log(): string;
  /** Its leases as `dumpleases` shows them. */
  leases(): Promise<string>;
  /** Ends it, as a crash would. What it knew is gone unless it is started with the same lease file. */
  stop(): Promise<void>;
}

export interface DhcpServerOptions {
  start?: string;
  end?: string;
  leaseSeconds?: number;
  /** Lines like `opt router 10.5.0.1`. */
  options?: readonly string[];
}

export async function startDhcpServer(
  t: ExecutionContext,
  netns: TestNetns,
  options: DhcpServerOptions = {},
): Promise<DhcpServer> {
  const folder = mkdtempSync(join(tmpdir(), 'berth-udhcpd-'));
  const conf = join(folder, 'udhcpd.conf');
  writeFileSync(join(folder, 'leases'), '');
  writeFileSync(
    conf,
    [
      `start ${options.start ?? '10.5.0.20'}`,
      `end ${options.end ?? '10.5.0.60'}`,
      'interface srv0',
      'min_lease 1',
      'auto_time 0',
      `lease_file ${join(folder, 'leases')}`,
      `pidfile ${join(folder, 'pid')}`,
      'opt subnet 255.255.255.0',
      `opt lease ${options.leaseSeconds ?? 600}`,
      ...(options.options ?? ['opt router 10.5.0.1']),
      '',
    ].join('\n'),
  );
  let text = '';
  // -a: no waiting for somebody who may have the address.
  const child: ChildProcess = spawn(
    findProgram('nsenter'),
    [`--net=${netns.path}`, 'busybox', 'udhcpd', '-f', '-a', '1', conf],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk) => (text += chunk));
  const exited = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  t.teardown(async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const leases = async () => {
    // It writes them down now.
    child.kill('SIGUSR1');
    await setTimeout(50);
    return (await run('busybox', ['dumpleases', '-f', join(folder, 'leases')])).stdout;
  };
  return { log: () => text, leases, stop };
}
