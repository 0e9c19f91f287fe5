import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Express, Request, Response } from 'express';
import type { StatisticsEndpoints } from '../stats/endpoints.ts';
import { CONTENT_TYPE } from '../stats/exposition.ts';

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

/** Some kilobytes a container: sent while it is made, and packed where the other side can unpack it (Prometheus does). */
async function sendText(request: Request, response: Response, text: Iterable<string>): Promise<void> {
  response.set('content-type', CONTENT_TYPE);
  const pieces = Readable.from(inSlices(text));
  const accepts = /(^|[\s,])gzip\s*(,|$)/.test(request.headers['accept-encoding'] ?? '');
  try {
    // The same lines again and again: the fastest level does nearly as well as the best, on a thread of its own.
    if (accepts) await pipeline(pieces, createGzip({ level: 1 }), response.set('content-encoding', 'gzip'));
    else await pipeline(pieces, response);
  } catch (error) {
    // Whoever asked has gone.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}

async function* inSlices(text: Iterable<string>): AsyncGenerator<string> {
  let sliceEndMs = performance.now() + SLICE_MS;
  for (const piece of text) {
    yield piece;
    if (performance.now() < sliceEndMs) continue;
    await new Promise((resolve) => setImmediate(resolve));
    sliceEndMs = performance.now() + SLICE_MS;
  }
}
