import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OverlayState } from '../../cni/overlay/overlay.ts';
import { listenHttp } from '../../proxy/health/listen.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';

/**
 * flanneld's health port: `/healthz` (its loops turn), `/readyz` (pods of the other nodes are reached, and they know how this one is), and
 * beside them, for this host alone, `/metrics` and `/peers`: the state as JSON, with the reason for each node that is not reached. Nobody
 * has to say who they are here, so nobody else is told more than health.
 */
export function createOverlayHealth(
  options: { address: string },
  deps: { state(): OverlayState; heartbeats: Heartbeats; metrics: Registry },
): Runnable {
  const { state, heartbeats, metrics } = deps;

  const answers: Record<string, () => Answer | Promise<Answer>> = {
    '/healthz': () => {
      const late = heartbeats.overdue().map(({ name }) => name);
      return late.length === 0 ? text(200, 'ok') : text(503, `silent for too long: ${late.join(', ')}`);
    },
    '/readyz': () => {
      const { ready, reason } = state();
      return ready ? text(200, 'ok') : text(503, `waits for ${reason}`);
    },
    '/metrics': async () => ({ code: 200, type: metrics.contentType, body: await metrics.metrics() }),
    '/peers': () => ({ code: 200, type: 'application/json', body: JSON.stringify(state()) }),
  };

  async function answerTo({ url, method, socket }: IncomingMessage): Promise<Answer> {
    const { pathname } = new URL(url ?? '/', 'http://localhost');
    const answer = answers[pathname];
    if (!answer) return text(404, 'not found');
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'GET only');
    if (!pathname.endsWith('z') && !isLoopback(socket.remoteAddress))
      return text(403, `${pathname} is for this host alone; inside berth node the agent's /metrics has these figures`);
    return answer();
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { code, type, body } = await answerTo(request);
    response.writeHead(code, { 'content-type': type }).end(`${body}\n`);
  }

  return {
    async run(signal) {
      const listener = await listenHttp(options.address, '--healthz-ip and --healthz-port', (request, response) => {
        handle(request, response).catch(() => response.destroy());
      });
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await listener.close();
    },
  };
}

function isLoopback(address: string | undefined): boolean {
  return /^(::1|(::ffff:)?127\..*)$/.test(address ?? '');
}

interface Answer {
  code: number;
  type: string;
  body: string;
}

function text(code: number, body: string): Answer {
  return { code, type: 'text/plain; charset=utf-8', body };
}
