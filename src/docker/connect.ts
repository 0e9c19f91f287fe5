import { readFile } from 'node:fs/promises';
import { readFileOfArchives } from './container-file.ts';
import type { DockerEngine, ExecResult } from './engine.ts';
import { isDockerNotFound } from './errors.ts';
import { demultiplex, jsonLines } from './frames.ts';
import { imageCalls } from './images.ts';
import { createSingleFlight } from './single-flight.ts';
import { collect, plain, untilAborted } from './streams.ts';
import { createTransport } from './transport.ts';
import {
  parseDetail,
  parseEvent,
  parseInfo,
  parseSummary,
  parseVersion,
  type WireDetail,
  type WireEvent,
  type WireInfo,
  type WireSummary,
  type WireVersion,
} from './wire.ts';

/** The oldest API that has all we use (Engine 20.10). */
const API_VERSION = '1.41';
const DEFAULT_EXEC_OUTPUT_BYTES = 10 * 1024;

/** An inspection takes milliseconds; one that does not hangs on that container's lock (a dead NFS mount, a stuck start). */
const INSPECT_TIMEOUT_MS = 10_000;

/** What the Engine has beyond the grace to kill a container and to see it end. */
const STOP_SLACK_MS = 30_000;

export interface ConnectOptions {
  apiVersion?: string;
  /** `runtimeRequestTimeout`: a call without an answer fails with kind `timeout` after this; 2 minutes. */
  requestTimeoutMs?: number;
  /** The same for inspections; 10 s, never more than the other. */
  inspectTimeoutMs?: number;
}

/**
 * The real Engine.
 * @param endpoint `unix:///run/docker.sock` or `tcp://127.0.0.1:2375`; connections are made when they are needed.
 */
export function connectDocker(endpoint: string, options: ConnectOptions = {}): DockerEngine {
  const http = createTransport(endpoint, options.apiVersion ?? API_VERSION, options.requestTimeoutMs);
  const stopSlackMs = Math.min(STOP_SLACK_MS, options.requestTimeoutMs ?? STOP_SLACK_MS);
  const inspectTimeoutMs = Math.min(
    options.inspectTimeoutMs ?? INSPECT_TIMEOUT_MS,
    options.requestTimeoutMs ?? INSPECT_TIMEOUT_MS,
  );
  const short = (id: string) => (/^[0-9a-f]{64}$/.test(id) ? id.slice(0, 12) : id);
  const container = (id: string) => `/containers/${encodeURIComponent(id)}`;

  /** Kills the process of an exec, once /proc confirms that the pid, as the Engine counts, is in that container for us too. */
  async function killExec(execId: string, containerId: string): Promise<void> {
    const path = `/exec/${execId}/json`;
    const { Running, Pid } = await http.json<{ Running: boolean; Pid: number }>({
      operation: `inspect exec in container ${short(containerId)}`,
      method: 'GET',
      path,
    });
    if (!Running || Pid <= 0) return;
    const cgroups = await readFile(`/proc/${Pid}/cgroup`, 'utf8');
    if (cgroups.includes(containerId)) process.kill(Pid, 'SIGKILL');
  }

  /** Never with `size=1`, which walks the container's whole file system; and one at a time for a container, however many events come. */
  const inspect = createSingleFlight(async (id) =>
    parseDetail(
      await http.json<WireDetail>({
        operation: `inspect container ${short(id)}`,
        method: 'GET',
        path: `${container(id)}/json`,
        timeoutMs: inspectTimeoutMs,
      }),
    ),
  );

  return {
    async info(signal) {
      return parseInfo(await http.json<WireInfo>({ operation: 'docker info', method: 'GET', path: '/info', signal }));
    },
    async version(signal) {
      const operation = 'docker version';
      return parseVersion(await http.json<WireVersion>({ operation, method: 'GET', path: '/version', signal }));
    },

    async ping(signal) {
      await http.json({ operation: 'ping', method: 'GET', path: '/_ping', signal });
    },

    async createContainer(name, config, signal) {
      const { Id } = await http.json<{ Id: string }>({
        operation: `create container ${name}`,
        method: 'POST',
        path: '/containers/create',
        query: { name },
        body: config,
        signal,
      });
      return { id: Id };
    },
    async startContainer(id, signal) {
      await http.json({
        operation: `start container ${short(id)}`,
        method: 'POST',
        path: `${container(id)}/start`,
        signal,
      });
    },
    async stopContainer(id, graceSeconds, signal) {
      await http.json({
        operation: `stop container ${short(id)}`,
        method: 'POST',
        path: `${container(id)}/stop`,
        query: { t: graceSeconds },
        signal,
        timeoutMs: graceSeconds * 1000 + stopSlackMs,
      });
    },
    async killContainer(id, signalName, signal) {
      await http.json({
        operation: `kill container ${short(id)}`,
        method: 'POST',
        path: `${container(id)}/kill`,
        query: { signal: signalName },
        signal,
      });
    },
    async removeContainer(id, options, signal) {
      await http.json({
        operation: `remove container ${short(id)}`,
        method: 'DELETE',
        path: container(id),
        query: { force: options?.force ?? false, v: true },
        signal,
      });
    },
    inspectContainer: inspect,
    async listContainers({ labels }, signal) {
      const rows = await http.json<WireSummary[]>({
        operation: 'list containers',
        method: 'GET',
        path: '/containers/json',
        query: { all: true, filters: labels ? JSON.stringify({ label: labels }) : undefined },
        signal,
      });
      return rows.map(parseSummary);
    },
    async updateContainer(id, resources, signal) {
      await http.json({
        operation: `update container ${short(id)}`,
        method: 'POST',
        path: `${container(id)}/update`,
        body: resources,
        signal,
      });
    },
    async waitContainer(id, signal) {
      const { StatusCode } = await http.json<{ StatusCode: number }>({
        operation: `wait for container ${short(id)}`,
        method: 'POST',
        path: `${container(id)}/wait`,
        signal,
        timeoutMs: Number.POSITIVE_INFINITY,
      });
      return { exitCode: StatusCode };
    },
    async *containerLogs(id, options, signal) {
      const stream = await http.stream({
        operation: `read logs of container ${short(id)}`,
        method: 'GET',
        path: `${container(id)}/logs`,
        query: {
          follow: options.follow ?? false,
          stdout: options.stdout ?? true,
          stderr: options.stderr ?? true,
          timestamps: options.timestamps ?? false,
          since: options.sinceMs === undefined ? undefined : (options.sinceMs / 1000).toFixed(9),
          tail: options.tail ?? 'all',
        },
        signal,
      });
      yield* untilAborted(
        `read logs of container ${short(id)}`,
        options.tty ? plain(stream) : demultiplex(stream),
        stream,
        signal,
      );
    },
    readContainerFile: (id, path, signal) =>
      readFileOfArchives(path, (at) =>
        http
          .stream({
            operation: `read ${at} of container ${short(id)}`,
            method: 'GET',
            path: `${container(id)}/archive`,
            query: { path: at },
            signal,
          })
          .catch((error) => {
            if (isDockerNotFound(error)) return undefined;
            throw error;
          }),
      ),
    async *exportContainer(id, signal) {
      const operation = `export container ${short(id)}`;
      const path = `${container(id)}/export`;
      const stream = await http.stream({ operation, method: 'GET', path, signal });
      yield* untilAborted(operation, stream as AsyncIterable<Buffer>, stream, signal);
    },
    async execInContainer(id, command, options = {}, signal) {
      const { Id } = await http.json<{ Id: string }>({
        operation: `exec in container ${short(id)}`,
        method: 'POST',
        path: `${container(id)}/exec`,
        body: { AttachStdout: true, AttachStderr: true, Cmd: command },
        signal,
      });
      let output: Buffer;
      try {
        const stream = await http.stream({
          operation: `start exec in container ${short(id)}`,
          method: 'POST',
          path: `/exec/${Id}/start`,
          body: { Detach: false, Tty: false },
          signal,
        });
        const chunks = untilAborted(`exec in container ${short(id)}`, demultiplex(stream), stream, signal);
        output = await collect(chunks, options.maxOutputBytes ?? DEFAULT_EXEC_OUTPUT_BYTES);
      } catch (error) {
        if (signal?.aborted) await killExec(Id, id).catch(() => undefined);
        throw error;
      }
      const state = await http.json<{ ExitCode: number | null }>({
        operation: `inspect exec in container ${short(id)}`,
        method: 'GET',
        path: `/exec/${Id}/json`,
        signal,
      });
      return { exitCode: state.ExitCode ?? -1, output } satisfies ExecResult;
    },

    ...imageCalls(http),

    async *containerEvents({ sinceNano, labels, actions, onOpen }, signal) {
      const stream = await http.stream({
        operation: 'follow events',
        method: 'GET',
        path: '/events',
        // Its head comes at once, before any event.
        timeoutMs: inspectTimeoutMs,
        query: {
          since: sinceNano === undefined ? undefined : nanoToSeconds(sinceNano),
          filters: JSON.stringify({
            type: ['container'],
            ...(labels && { label: labels }),
            ...(actions && { event: actions }),
          }),
        },
        signal,
      });
      onOpen?.();
      for await (const event of untilAborted('follow events', jsonLines(stream), stream, signal))
        yield parseEvent(event as WireEvent);
    },

    close: () => http.close(),
  };
}

function nanoToSeconds(nano: bigint): string {
  return `${nano / 1_000_000_000n}.${String(nano % 1_000_000_000n).padStart(9, '0')}`;
}
