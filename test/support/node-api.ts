import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import type { PodDirectory } from '../../agent/pods/ports.ts';
import { createAccess, type RefuseAccess } from '../../agent/server/access.ts';
import { certifiedAccess } from '../../agent/server/authorization.ts';
import { type AgentServerOptions, createAgentServer } from '../../agent/server/server.ts';
import { createNodeMetrics } from '../../agent/stats/metrics.ts';
import { createCertificateAuthority, issueCertificate } from '../../src/auth/authority.ts';
import type { LogChunk, LogOptions } from '../../src/docker/engine.ts';
import type { ContainerSession, ContainerTerminals, SessionOptions } from '../../src/docker/terminals.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import { serverDefaults } from '../fakes/server-defaults.ts';
import { noStatistics } from '../fakes/statistics.ts';
import { podOf } from '../unit/agent/pod.ts';
import { observed, run } from '../unit/agent/status/cases.ts';

export interface NodeApiOptions extends Pick<AgentServerOptions, 'limits' | 'places'> {
  terminals?: Pick<ContainerTerminals, 'exec' | 'attach'>;
  /** Before a process is there. */
  startMs?: number;
  /** Asked before the usual judge. */
  beforeAccess?: RefuseAccess;
  streamingIdleTimeoutMs?: number;
  /** Of the container that runs: `app1` unless said. */
  containerId?: string;
}

export interface NodeClient {
  tcp: Socket;
  tls: TLSSocket;
  /** Leaves without a good-bye. */
  reset(): void;
}

/** What a fake process of the Engine went through. */
export interface ProcessRecord {
  /** How often it was told to end. */
  closed: number;
  stream: Duplex;
}

/**
 * The whole HTTPS server of a node on 127.0.0.1, with pod default/web, its container `app`, whose processes echo their input, and an echo
 * server on its port 80. Talked to in bytes.
 */
export async function startNodeApi(options: NodeApiOptions = {}) {
  const validity = { days: 1, nowMs: Date.now() };
  const ca = await createCertificateAuthority({ commonName: 'ca', ...validity });
  const [serving, client] = await Promise.all([
    issueCertificate(ca, { commonName: 'n1', ipAddresses: ['127.0.0.1'], usages: ['server'], ...validity }),
    issueCertificate(ca, { commonName: 'kube-apiserver-kubelet-client', usages: ['client'], ...validity }),
  ]);
  const pod = podOf({ containers: [{ name: 'app' }] });
  pod.status = {
    phase: 'Running',
    containerStatuses: [
      {
        name: 'app',
        ready: true,
        restartCount: 0,
        image: '',
        imageID: '',
        containerID: 'docker://app1',
        state: { running: {} },
        lastState: {},
      },
    ],
  };
  const runtime = observed([run('app')]);
  if (options.containerId) Object.assign(runtime.containers[0]!, { id: options.containerId });
  const pods: PodDirectory = {
    list: () => [pod],
    get: (namespace, name) => (namespace === 'default' && name === 'web' ? pod : undefined),
    getByUid: () => pod,
    runtime: () => runtime,
    lastRelistMonotonicMs: () => 0,
  };
  const processes: ProcessRecord[] = [];
  const start = async ({ tty }: SessionOptions): Promise<ContainerSession> => {
    await sleep(options.startMs ?? 0);
    const stream = echoProcess(tty);
    const record: ProcessRecord = { closed: 0, stream };
    processes.push(record);
    return {
      stream,
      resize: async () => {},
      exitCode: async () => 0,
      close: async () => {
        record.closed++;
        stream.destroy();
      },
    };
  };
  const echo = createServer({ allowHalfOpen: true }, (socket) => void socket.on('error', () => {}).pipe(socket));
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const echoPort = (echo.address() as { port: number }).port;
  const forwarded = new Set<Socket>();
  let followers = 0;
  const [registry, probeRegistry] = [new Registry(), new Registry()];
  const judge = createAccess({ authorize: certifiedAccess }, { log: silentLogger });
  const server = createAgentServer(
    {
      address: '127.0.0.1',
      port: 0,
      healthzBindAddress: '127.0.0.1',
      ...serving,
      clientCaPem: ca.certPem,
      ...(options.limits && { limits: options.limits }),
      ...(options.places && { places: options.places }),
    },
    {
      ...serverDefaults,
      pods,
      docker: {
        async *containerLogs(_id: string, { follow }: LogOptions, signal?: AbortSignal): AsyncGenerator<LogChunk> {
          yield { stream: 'stdout', data: Buffer.from('one\n') };
          if (!follow) return;
          followers++;
          await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
          followers--;
        },
      },
      heartbeats: { register: () => () => {}, overdue: () => [] },
      registry,
      probeRegistry,
      statistics: noStatistics,
      metrics: createNodeMetrics({ nodeName: 'n1' }, { registry, probeRegistry, pods, clock: systemClock }),
      configuration: () => ({ kind: 'KubeletConfiguration' }),
      terminals: options.terminals ?? {
        exec: async (_id, _command, wanted) => start(wanted),
        attach: async (_id, wanted) => start(wanted),
      },
      async connectToPod(_pod: unknown, port: number) {
        if (port !== 80) throw new Error(`nobody listens on ${port}`);
        const socket = connectTcp({ port: echoPort, host: '127.0.0.1', allowHalfOpen: true });
        forwarded.add(socket);
        socket.once('close', () => forwarded.delete(socket));
        await once(socket, 'connect');
        return socket;
      },
      streamingIdleTimeoutMs: options.streamingIdleTimeoutMs ?? 60_000,
      refuseAccess: async (request, path) => (await options.beforeAccess?.(request, path)) ?? judge(request, path),
      clock: systemClock,
      log: silentLogger,
    } as Parameters<typeof createAgentServer>[1],
  );
  const { port } = await server.listen();

  /** A connection with the API server's certificate, or as a stranger. */
  async function open(as: 'api-server' | 'stranger' = 'api-server'): Promise<TLSSocket> {
    return (await openBoth(as)).tls;
  }

  /** The TCP connection below too: only it can be reset. */
  async function openBoth(as: 'api-server' | 'stranger' = 'api-server'): Promise<NodeClient> {
    const identity = as === 'api-server' ? { cert: client.certPem, key: client.keyPem } : {};
    const tcp = connectTcp({ host: '127.0.0.1', port }).on('error', () => {});
    const tls = connect({ socket: tcp, host: '127.0.0.1', ca: ca.certPem, ...identity }).on('error', () => {});
    await once(tls, 'secureConnect');
    const reset = () => {
      // Once the node has ended the connection its own end is under way, too: too late for a reset (see `resetSocket`).
      if (tls.writableEnded) tls.destroy();
      else tcp.resetAndDestroy();
    };
    return { tcp, tls, reset };
  }

  /** Sends bytes, and reads until the node closes or `enough` says so. */
  async function exchange(
    bytes: string | Buffer,
    enough: (text: string) => boolean = hasWholeAnswer,
    as: 'api-server' | 'stranger' = 'api-server',
  ): Promise<{ status: number; text: string }> {
    const { tcp, tls: socket } = await openBoth(as);
    let text = '';
    socket.write(bytes);
    await new Promise<void>((resolve) => {
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        if (enough(text)) resolve();
      });
      socket.once('close', () => resolve());
    });
    socket.destroy();
    tcp.destroy();
    return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
  }

  return {
    port,
    ca,
    client,
    processes,
    registry,
    /** Connections to the pod's port that are open. */
    forwarded: () => forwarded.size,
    followers: () => followers,
    open,
    openBoth,
    openTcp: () => connectTcp({ host: '127.0.0.1', port }).on('error', () => {}),
    exchange,
    async close() {
      await server.close();
      for (const socket of forwarded) socket.destroy();
      await new Promise((resolve) => echo.close(resolve));
    },
  };
}

export type NodeApi = Awaited<ReturnType<typeof startNodeApi>>;

/** A process that prints what it reads, framed as the Engine does, until its input ends. */
function echoProcess(tty: boolean): Duplex {
  const stream: Duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      const head = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
      head.writeUInt32BE(chunk.length, 4);
      stream.push(tty ? chunk : Buffer.concat([head, chunk]));
      done();
    },
    final(done) {
      stream.push(null);
      done();
    },
  });
  return stream.on('error', () => {});
}

function hasWholeAnswer(text: string): boolean {
  const head = text.indexOf('\r\n\r\n');
  if (head < 0) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head))?.[1];
  if (length !== undefined) return text.length >= head + 4 + Number(length);
  return text.startsWith('HTTP/1.1 101') || text.endsWith('\r\n0\r\n\r\n');
}

/** Open sockets of this process. What else is opened (modules, pipes of workers) comes and goes by itself. */
export function openSockets(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}
