import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { Listener } from './udp-listener.ts';

export interface HttpEndpointOptions {
  port: number;
  /** What is wrong, if anything is. */
  healthProblem(): string | undefined;
}

/** Only this host may look: what is asked for tells what a cluster does (kube-proxy's metrics are on the loopback interface for the same reason). */
const LOOPBACK = '127.0.0.1';

/** `/metrics` for Prometheus, `/health` (and `/healthz`) while the server lives, `/ready` while it answers from a whole zone. */
export function listenHttp(options: HttpEndpointOptions, registry: Registry): Promise<Listener> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    const say = (code: number, text: string) => response.writeHead(code, { 'content-type': 'text/plain' }).end(text);
    if (request.method !== 'GET' && request.method !== 'HEAD') say(405, 'only GET and HEAD\n');
    else if (path === '/health' || path === '/healthz' || path === '/ready') {
      const problem = options.healthProblem();
      say(problem ? 503 : 200, problem ?? 'OK');
    } else if (path === '/metrics') {
      registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
        (error: unknown) => say(500, String(error)),
      );
    } else say(404, 'there are /metrics, /health and /ready\n');
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: LOOPBACK, port: options.port, reusePort: true }, () => {
      server.off('error', reject);
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}
