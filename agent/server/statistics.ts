import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Express, Request, Response } from 'express';
import type { StatisticsEndpoints } from '../stats/endpoints.ts';
import { CONTENT_TYPE } from '../stats/exposition.ts';

const pack = promisify<Buffer, { level: number }, Buffer>(gzip);

/** How long text is made before others have the event loop. */
const SLICE_MS = 8;

/** /stats/summary, /metrics/cadvisor and /metrics/resource. */
export function serveStatistics(app: Express, statistics: StatisticsEndpoints): void {
  app.get('/stats/summary', async (request, response) => {
    // As upstream, whatever else it says is no.
    const onlyCpuAndMemory = request.query['only_cpu_and_memory'] === 'true';
    response.json(await statistics.summary({ onlyCpuAndMemory }));
  });
  app.get('/metrics/resource', async (_, response) => {
    response.set('content-type', CONTENT_TYPE).end(await statistics.resourceMetrics());
  });
  app.get('/metrics/cadvisor', async (request, response) => {
    await sendText(request, response, await statistics.cadvisorMetrics());
  });
}

/**
 * Some kilobytes a container, packed where the other side can unpack it (Prometheus does): in one go on a thread, since many small pieces
 * would each wait for one.
 */
async function sendText(request: Request, response: Response, text: Iterable<string>): Promise<void> {
  const whole = await gather(text);
  response.set('content-type', CONTENT_TYPE);
  if (!/(^|[\s,])gzip\s*(,|$)/.test(request.headers['accept-encoding'] ?? '')) return void response.end(whole);
  // The same lines again and again: the fastest level does nearly as well as the best.
  response.set('content-encoding', 'gzip').end(await pack(whole, { level: 1 }));
}

async function gather(text: Iterable<string>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let sliceEndMs = performance.now() + SLICE_MS;
  for (const piece of text) {
    pieces.push(Buffer.from(piece));
    if (performance.now() < sliceEndMs) continue;
    await new Promise((resolve) => setImmediate(resolve));
    sliceEndMs = performance.now() + SLICE_MS;
  }
  return Buffer.concat(pieces);
}
