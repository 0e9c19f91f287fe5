import { createSpdyConnection } from '../spdy/connection.ts';
import type { SpdyStream } from '../spdy/stream.ts';
import { listHeader, refuseUpgrade, switchProtocols, type UpgradeRequest } from '../upgrade.ts';
import { type CommandRequest, type CommandStreams, createResizes } from './streams.ts';

/** Newest first; what each adds is in `streamsOf` and in how a failure is told. */
const PROTOCOLS = ['v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'] as const;
type Protocol = (typeof PROTOCOLS)[number];

/** The client opens its streams at once; upstream waits as long. */
const CREATION_TIMEOUT_MS = 30_000;

/** The streams that a client of this protocol opens. */
function streamsOf(request: CommandRequest, protocol: Protocol): string[] {
  const names = ['error'];
  if (request.stdin) names.push('stdin');
  if (request.stdout) names.push('stdout');
  if (request.stderr) names.push('stderr');
  if (request.tty && (protocol === 'v4.channel.k8s.io' || protocol === 'v3.channel.k8s.io')) names.push('resize');
  return names;
}

/**
 * Accepts exec or attach over SPDY/3.1, as kube-apiserver and older kubectls ask for it: a stream each for stdin, stdout, stderr, the
 * terminal's sizes and the outcome, told apart by the header `streamType`.
 * @returns undefined when the client was refused, or did not open its streams in time
 */
export async function acceptSpdyCommand(
  { request, socket, head }: UpgradeRequest,
  wanted: CommandRequest,
  { idleTimeoutMs }: { idleTimeoutMs: number },
): Promise<CommandStreams | undefined> {
  const offered = listHeader(request, 'x-stream-protocol-version');
  const protocol = offered.length === 0 ? 'channel.k8s.io' : PROTOCOLS.find((known) => offered.includes(known));
  if (!protocol) {
    refuseUpgrade(
      socket,
      403,
      'Forbidden',
      `unable to upgrade: none of the stream protocols ${offered.join(', ')} is supported\n`,
      {
        'X-Accepted-Stream-Protocol-Versions': PROTOCOLS.join(', '),
      },
    );
    return undefined;
  }
  switchProtocols(socket, { Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': protocol });
  const names = streamsOf(wanted, protocol);
  const streams = new Map<string, SpdyStream>();
  const complete = Promise.withResolvers<void>();
  const gone = new AbortController();
  const connection = createSpdyConnection(
    socket,
    {
      role: 'server',
      idleTimeoutMs,
      maxStreams: names.length,
      onStream(stream) {
        const name = stream.headers['streamtype'] ?? '';
        if (!names.includes(name) || streams.has(name)) {
          stream.destroy();
          return;
        }
        streams.set(name, stream);
        if (streams.size === names.length) complete.resolve();
      },
    },
    head,
  );
  void connection.closed.then(() => gone.abort(new Error('the client is gone')));
  const timer = setTimeout(() => connection.close(), CREATION_TIMEOUT_MS);
  await Promise.race([complete.promise, connection.closed]);
  clearTimeout(timer);
  if (streams.size < names.length) return undefined;

  const resizes = createResizes();
  const resize = streams.get('resize');
  if (resize) void readSizes(resize, resizes.push);
  const error = streams.get('error')!;
  const [stdin, stdout, stderr] = ['stdin', 'stdout', 'stderr'].map((name) => streams.get(name));
  return {
    ...(stdin && { stdin }),
    ...(stdout && { stdout }),
    ...(stderr && { stderr }),
    onResize: resizes.onResize,
    gone: gone.signal,
    async finish(status) {
      const isFailure = status.status !== 'Success';
      // Before v4 an error is told in words, and success by silence.
      const text = protocol === 'v4.channel.k8s.io' ? JSON.stringify(status) : isFailure ? (status.message ?? '') : '';
      for (const stream of [stdout, stderr]) if (stream && !stream.destroyed) stream.end();
      error.end(text);
      // However slowly the client fetches it (a pager on a terminal); one that fetches nothing is cut off by the idle timeout.
      await Promise.all([stdout, stderr, error].map((stream) => stream && finished(stream)));
      connection.close();
    },
  };
}

function finished(stream: SpdyStream): Promise<void> {
  if (stream.writableFinished || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once('finish', resolve);
    stream.once('close', resolve);
  });
}

/** One JSON object after another, in frames of any cut. */
async function readSizes(stream: SpdyStream, push: (text: string) => void): Promise<void> {
  let text = '';
  try {
    for await (const chunk of stream) {
      text += chunk;
      for (let end = text.indexOf('}'); end >= 0; end = text.indexOf('}')) {
        push(text.slice(0, end + 1));
        text = text.slice(end + 1);
      }
      if (text.length > 1024) text = '';
    }
  } catch {
    // The connection ended.
  }
}
