import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { livingPid, stopProcess } from '../daemon/pid-file.ts';
import { UserError } from '../output/failure.ts';
import { removeIfEmpty } from './empty-folder.ts';
import { enginePings } from './ping.ts';
import { installPodRuntime, SYSTEM_PATH } from './pod-runtime.ts';
import { POD_RUNTIME_NAME } from './pod-runtime-script.ts';

export interface EnginePaths {
  engineData: string;
  engineExec: string;
  enginePid: string;
  engineSocket: string;
  engineLog: string;
}

/** dockerd was seen to answer after 150 ms; a data root with much to restore takes longer. */
const START_TIMEOUT_MS = 60_000;
const SUPERVISE_MS = 1000;
const STOP_TIMEOUT_MS = 20_000;
/** dockerd and its containerd make these wherever else they are told to live; another Docker's are not empty. */
const FIXED_FOLDERS = [
  '/run/docker/plugins',
  '/run/docker/libnetwork',
  '/run/docker',
  '/run/containerd/s',
  '/run/containerd',
];

/**
 * A Docker Engine of Berth's own, for hosts where none answers: a process beside the daemon, with own data and socket, that
 * touches no network of the host (no bridge, no iptables) and no configuration of another Docker.
 *
 * It outlives the daemon: the next one takes it over by pid file and socket. Containers outlive both (live-restore).
 */
export function createPrivateEngine(options: { paths: EnginePaths; clock: Clock; log: Logger }) {
  const { paths, clock, log } = options;
  const alive = () => livingPid(paths.enginePid, paths.enginePid);

  /** Starts dockerd unless it runs, and waits until it answers. */
  async function ensure(signal?: AbortSignal): Promise<void> {
    if (alive() !== undefined && (await enginePings(paths.engineSocket))) return;
    if (alive() === undefined) start();
    const deadline = clock.monotonicMs() + START_TIMEOUT_MS;
    while (!(await enginePings(paths.engineSocket, 1000))) {
      if (clock.monotonicMs() > deadline)
        throw new UserError(
          `the Docker Engine did not answer on ${paths.engineSocket} within ${START_TIMEOUT_MS / 1000} s; its log is ${paths.engineLog}:\n${lastLines(paths.engineLog, 5)}`,
        );
      if (starting?.exitCode !== null && starting !== undefined && alive() === undefined) {
        throw new UserError(
          `dockerd ended at once (exit ${starting.exitCode}); its log is ${paths.engineLog}:\n${lastLines(paths.engineLog, 5)}`,
        );
      }
      await clock.sleep(10, signal);
    }
  }

  let starting: ReturnType<typeof spawn> | undefined;

  function start(): void {
    for (const folder of [paths.engineData, paths.engineExec, dirname(paths.engineSocket), dirname(paths.engineLog)])
      mkdirSync(folder, { recursive: true });
    // A pid file of a dead dockerd whose pid was given out again would keep the new one from starting; so would a socket.
    rmSync(paths.enginePid, { force: true });
    rmSync(paths.engineSocket, { force: true });
    // An empty configuration of its own: /etc/docker/daemon.json is another Docker's.
    const config = join(paths.engineData, 'berth-daemon.json');
    writeFileSync(config, '{}\n');
    const podRuntime = join(paths.engineData, 'berth-runtime');
    const problem = installPodRuntime(podRuntime);
    if (problem) log.warn({ problem }, `${podRuntime} does not run: pods start without it, more slowly`);
    const logFile = openSync(paths.engineLog, 'a', 0o640);
    const flags = [
      ...[
        '--config-file',
        config,
        '--data-root',
        paths.engineData,
        '--exec-root',
        paths.engineExec,
        '--pidfile',
        paths.enginePid,
      ],
      ...[
        '--host',
        `unix://${paths.engineSocket}`,
        '--group',
        'root',
        '--bridge',
        'none',
        '--iptables=false',
        '--ip6tables=false',
        '--ip-masq=false',
        '--ip-forward=false',
      ],
      ...[
        '--userland-proxy=false',
        '--exec-opt',
        'native.cgroupdriver=cgroupfs',
        '--live-restore',
        '--log-level',
        'warn',
      ],
      ...(problem ? [] : ['--add-runtime', `${POD_RUNTIME_NAME}=${podRuntime}`]),
    ];
    starting = spawn('dockerd', flags, {
      detached: true,
      stdio: ['ignore', logFile, logFile],
      cwd: '/',
      env: { PATH: SYSTEM_PATH },
    });
    starting.on('error', (error) =>
      log.error({ error: error.message }, 'dockerd could not be started: install the package docker.io'),
    );
    starting.unref();
    closeSync(logFile);
    log.info({ pid: starting.pid, socket: paths.engineSocket }, 'started a Docker Engine');
  }

  return {
    ensure,
    pid: alive,
    /** Starts dockerd again whenever it is dead, until the signal aborts. The engine itself keeps running then. */
    async run(signal: AbortSignal): Promise<void> {
      while (!signal.aborted) {
        await clock.sleep(SUPERVISE_MS, signal).catch(() => {});
        if (signal.aborted) return;
        if (alive() !== undefined) continue;
        log.warn('the Docker Engine is dead; starting it again');
        await ensure(signal).catch((error) =>
          log.error({ error: String(error) }, 'the Docker Engine did not come back'),
        );
      }
    },
    /** Stops dockerd. With live-restore, containers that were not removed keep running. */
    async stop() {
      await stopProcess(paths.enginePid, paths.enginePid, STOP_TIMEOUT_MS);
      for (const folder of FIXED_FOLDERS) removeIfEmpty(folder);
    },
  };
}

export type PrivateEngine = ReturnType<typeof createPrivateEngine>;

/** The end of a log file, for an error that must explain itself. */
export function lastLines(file: string, count: number): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '(no log)';
  }
}
