import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ContainerTerminals } from '../../src/docker/terminals.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { acceptSpdyCommand } from '../../src/streaming/command/spdy.ts';
import { type CommandRequest, type CommandStreams, failureStatus } from '../../src/streaming/command/streams.ts';
import { acceptWebSocketCommand } from '../../src/streaming/command/websocket.ts';
import { servePortForwardOverSpdy } from '../../src/streaming/port-forward/spdy.ts';
import { servePortForwardOverWebSocket } from '../../src/streaming/port-forward/websocket.ts';
import { refuseUpgrade, type UpgradeRequest, upgradeKind } from '../../src/streaming/upgrade.ts';
import type { PodDirectory } from '../pods/ports.ts';
import type { NodeMetrics } from '../stats/metrics.ts';
import type { RefuseAccess } from './access.ts';
import type { InFlight } from './in-flight.ts';
import { splitTarget } from './request-edge.ts';
import { runSession } from './sessions.ts';
import { chooseTarget, parseCommandRequest, parseStreamPath, type StreamPath, StreamRefusal } from './stream-target.ts';

/** First parts of the paths whose connections change their protocol. */
export const STREAMS = ['exec', 'attach', 'portForward'];

export interface StreamDeps {
  pods: PodDirectory;
  terminals: Pick<ContainerTerminals, 'exec' | 'attach'>;
  /** Connects to a port of the pod's own loopback. */
  connectToPod(pod: Pod, port: number, signal: AbortSignal): Promise<Duplex>;
  metrics?: Pick<NodeMetrics, 'request'>;
  /** Who may do what. */
  refuseAccess: RefuseAccess;
  /** How much is worked on at once. */
  inFlight: InFlight;
  /** KubeletConfiguration: streamingConnectionIdleTimeout. */
  streamingIdleTimeoutMs: number;
  clock: Clock;
  log: Logger;
}

/** exec, attach and port-forward: whatever goes wrong before the upgrade is a plain answer, after it a word on the error channel. */
export function createStreamHandler(deps: StreamDeps): (upgrade: UpgradeRequest) => Promise<void> {
  return async (upgrade) => {
    const { request, socket } = upgrade;
    socket.on('error', () => {});
    const { pathname, query } = splitTarget(request.url ?? '/');
    // What a hasty client sends meanwhile must wait for its reader: a socket that flows without one loses it.
    socket.pause();
    const refusal = await deps.refuseAccess(request, pathname);
    socket.resume();
    if (refusal) return refuseUpgrade(socket, refusal.status, STATUS_CODES[refusal.status] ?? '', refusal.text);
    if (socket.destroyed) return;
    const release = deps.inFlight.enter('long');
    if (!release) return refuseUpgrade(socket, 429, 'Too Many Requests', 'Too many streams, please try again later.\n');
    const labels = { method: request.method ?? 'GET', path: pathname.split('/')[1] ?? '', longRunning: true } as const;
    const end = deps.metrics?.request({ ...labels, serverType: 'readwrite' });
    try {
      if (request.method !== 'GET' && request.method !== 'POST')
        throw new StreamRefusal(405, `${request.method} is not served here, but GET and POST`);
      const path = parseStreamPath(pathname);
      if (path.kind === 'portForward') await portForward(deps, upgrade, path, query);
      else await command(deps, upgrade, path, query);
    } catch (error) {
      if (error instanceof StreamRefusal) refuseUpgrade(socket, error.statusCode, error.reason, `${error.message}\n`);
      else {
        deps.log.error({ err: error, path: pathname }, 'a stream to a container failed');
        socket.destroy();
      }
    } finally {
      end?.();
      release();
    }
  };
}

async function command(
  deps: StreamDeps,
  upgrade: UpgradeRequest,
  path: StreamPath,
  query: URLSearchParams,
): Promise<void> {
  const target = chooseTarget(deps.pods, path);
  const wanted = parseCommandRequest(query, path.kind === 'attach' ? target.tty : undefined);
  const argv = query.getAll('command');
  if (path.kind === 'exec' && argv.length === 0)
    throw new StreamRefusal(400, 'you must specify at least 1 command for the container');
  const client = await accept(upgrade, wanted, deps.streamingIdleTimeoutMs);
  if (!client) return;
  try {
    const session =
      path.kind === 'exec'
        ? await deps.terminals.exec(target.containerId, argv, engineOptions(wanted), client.gone)
        : await deps.terminals.attach(target.containerId, { ...engineOptions(wanted), tty: target.tty }, client.gone);
    await client.finish(
      await runSession(session, client, {
        tty: path.kind === 'exec' ? wanted.tty : target.tty,
        hasExitCode: path.kind === 'exec',
        passesEndOfInput: path.kind === 'exec' || (target.stdinOnce && !target.tty),
      }),
    );
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!client.gone.aborted)
      deps.log.info({ container: target.containerId.slice(0, 12), err: error }, `${path.kind} failed`);
    await client.finish(failureStatus(`error executing command in container: ${message}`));
  }
}

/** With a terminal the Engine sends one output, which it calls stdout. */
function engineOptions(wanted: CommandRequest): CommandRequest {
  return wanted.tty ? { ...wanted, stdout: true, stderr: true } : wanted;
}

function accept(
  upgrade: UpgradeRequest,
  wanted: CommandRequest,
  idleTimeoutMs: number,
): Promise<CommandStreams | undefined> {
  const over = upgradeKind(upgrade.request) === 'websocket' ? acceptWebSocketCommand : acceptSpdyCommand;
  return over(upgrade, wanted, { idleTimeoutMs });
}

async function portForward(
  deps: StreamDeps,
  upgrade: UpgradeRequest,
  path: StreamPath,
  query: URLSearchParams,
): Promise<void> {
  const pod = deps.pods.get(path.namespace, path.pod);
  if (!pod || (path.uid !== undefined && pod.metadata.uid !== path.uid))
    throw new StreamRefusal(404, 'pod does not exist');
  const options = {
    connect: (port: number, signal: AbortSignal) => deps.connectToPod(pod, port, signal),
    idleTimeoutMs: deps.streamingIdleTimeoutMs,
  };
  if (upgradeKind(upgrade.request) === 'websocket')
    await servePortForwardOverWebSocket(upgrade, query.getAll('port').concat(query.getAll('ports')), options);
  else await servePortForwardOverSpdy(upgrade, options);
}
