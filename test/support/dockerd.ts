import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { connectDocker } from '../../src/docker/connect.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { readMounts, unmount } from '../../src/linux/mounts.ts';

const PROGRAMS = ['/usr/sbin/dockerd', '/usr/bin/dockerd', '/usr/local/bin/dockerd'];
const START_TIMEOUT_MS = 30_000;

export interface PrivateDockerd {
  endpoint: string;
  socketPath: string;
  dataRoot: string;
  docker: DockerEngine;
  pid: number;
  /** Ends the daemon and starts it again on the same data; containers live on only with live-restore. */
  restart(): Promise<void>;
  /** Kills the containers, stops the daemon and removes its directories. */
  stop(): Promise<void>;
}

/** Why no private dockerd can run here, else undefined. Tests skip with these words. */
export function whyNoDockerd(): string | undefined {
  if (process.getuid?.() !== 0) return 'a private dockerd needs root';
  if (!PROGRAMS.some(existsSync)) return `no dockerd in ${PROGRAMS.join(', ')}`;
  return undefined;
}

/**
 * A dockerd of this test alone: own data root, exec root, socket; no bridge, no iptables.
 * It lives in the network namespace of the caller and touches nothing in it.
 */
export async function startDockerd(
  options: {
    cgroupParent?: string;
    dataRoot?: string;
    /** Further flags; read at every start, so that a restart may have others. */
    flags?: readonly string[];
  } = {},
): Promise<PrivateDockerd> {
  const base = await mkdtemp('/tmp/berth-dockerd-');
  const dataRoot = options.dataRoot ?? join(base, 'data');
  const socketPath = join(base, 'docker.sock');
  const logPath = join(base, 'dockerd.log');
  const program = PROGRAMS.find(existsSync);
  if (!program) throw new Error(whyNoDockerd());
  const args = [
    `--data-root=${dataRoot}`,
    `--exec-root=${join(base, 'exec')}`,
    `--pidfile=${join(base, 'docker.pid')}`,
    `--host=unix://${socketPath}`,
    '--bridge=none',
    '--iptables=false',
    '--ip6tables=false',
    '--ip-masq=false',
    '--live-restore',
    '--storage-driver=overlay2',
    '--shutdown-timeout=2',
    ...(options.cgroupParent ? [`--cgroup-parent=${options.cgroupParent}`] : []),
  ];
  const docker = connectDocker(`unix://${socketPath}`);
  let child = await launch();

  async function launch(): Promise<ChildProcess> {
    const log = await open(logPath, 'a');
    const started = spawn(program!, [...args, ...(options.flags ?? [])], {
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    });
    await log.close();
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        await docker.version();
        return started;
      } catch (error) {
        if (started.exitCode !== null || Date.now() > deadline)
          throw new Error(`dockerd did not come up:\n${await readFile(logPath, 'utf8')}`, { cause: error });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async function end() {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await exited;
  }

  return {
    endpoint: `unix://${socketPath}`,
    socketPath,
    dataRoot,
    docker,
    get pid() {
      return child.pid!;
    },
    async restart() {
      await end();
      child = await launch();
    },
    async stop() {
      const containers = await docker.listContainers({});
      await Promise.allSettled(containers.map(({ id }) => docker.removeContainer(id, { force: true })));
      docker.close();
      await end();
      // With live-restore a daemon that was restarted leaves its own mounts behind.
      for (const { target } of readMounts().reverse()) if (target.startsWith(`${base}/`)) unmount(target);
      await rm(base, { recursive: true, force: true });
    },
  };
}
