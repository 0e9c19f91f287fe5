import { Session } from 'node:inspector/promises';
import type { Express, Request, Response } from 'express';
import type { Clock } from '../runtime/clock.ts';
import { plainText } from './plain-text.ts';

export interface ProfilesDeps {
  clock: Clock;
}

const DEFAULT_SECONDS = { profile: 30, heap: 10 };
const MAX_SECONDS = 300;
/** As pprof: a hundred looks a second. What is measured is slowed by less than a hundredth. */
const CPU_INTERVAL_MICROSECONDS = 10_000;
const HEAP_INTERVAL_BYTES = 32 * 1024;

/** What Go's runtime has and V8 has not. */
const GO_ONLY = ['allocs', 'block', 'goroutine', 'mutex', 'symbol', 'threadcreate', 'trace'];

const INDEX = `profile: the CPU's time by function over ?seconds=${DEFAULT_SECONDS.profile}, a .cpuprofile for Chrome's DevTools
heap: what was allocated over ?seconds=${DEFAULT_SECONDS.heap} and is still held, a .heapprofile for the same
cmdline: the command line, its words ended by zero bytes
`;

/** Of all servers of the process: V8 samples the heap for one session only, and a second one would end the first one's. */
let isBusy = false;

/**
 * GET /debug/pprof/…: the paths and the meaning are upstream's, the formats V8's, since the program is not written in Go. Sampled, so that the node goes on
 * meanwhile; a whole heap snapshot would stop it for seconds. One at a time.
 */
export function serveProfiles(app: Express, { clock }: ProfilesDeps): void {
  async function sample(request: Request, response: Response, kind: 'profile' | 'heap'): Promise<void> {
    const seconds = parseSeconds(request.query['seconds'], DEFAULT_SECONDS[kind]);
    if (seconds === undefined) return plainText(response, 400, `seconds must be a number from 1 to ${MAX_SECONDS}\n`);
    // Go's words.
    if (isBusy) return plainText(response, 500, `Could not enable ${kind} profiling: profiling already in use\n`);
    isBusy = true;
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const session = new Session();
    try {
      session.connect();
      const text = await (kind === 'profile' ? sampleCpu : sampleHeap)(session, () =>
        clock.sleep(seconds * 1000, gone.signal),
      );
      response
        .set('content-type', 'application/json')
        .set(
          'content-disposition',
          `attachment; filename="${kind === 'profile' ? 'cpu.cpuprofile' : 'heap.heapprofile'}"`,
        )
        .end(text);
    } catch (error) {
      if (!gone.signal.aborted) throw error;
    } finally {
      session.disconnect();
      isBusy = false;
    }
  }

  app.get('/debug/pprof{/}', (_, response) => plainText(response, 200, INDEX));
  app.get('/debug/pprof/cmdline', (_, response) =>
    plainText(response, 200, [process.execPath, ...process.execArgv, ...process.argv.slice(1)].join('\0')),
  );
  for (const kind of ['profile', 'heap'] as const)
    app.get(`/debug/pprof/${kind}`, (request, response) => sample(request, response, kind));
  for (const name of GO_ONLY)
    app.get(`/debug/pprof/${name}`, (_, response) =>
      plainText(response, 404, `Unknown profile: ${name} is of Go's runtime; there are profile, heap and cmdline\n`),
    );
  app.get('/debug/pprof/{*rest}', (_, response) => plainText(response, 404, 'Unknown profile\n'));
}

async function sampleCpu(session: Session, time: () => Promise<void>): Promise<string> {
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: CPU_INTERVAL_MICROSECONDS });
  await session.post('Profiler.start');
  await time();
  return JSON.stringify((await session.post('Profiler.stop')).profile);
}

async function sampleHeap(session: Session, time: () => Promise<void>): Promise<string> {
  await session.post('HeapProfiler.startSampling', { samplingInterval: HEAP_INTERVAL_BYTES });
  await time();
  return JSON.stringify((await session.post('HeapProfiler.stopSampling')).profile);
}

/** Undefined for what is no number of seconds. */
function parseSeconds(text: unknown, otherwise: number): number | undefined {
  if (text === undefined || text === '') return otherwise;
  const seconds = Number(text);
  return typeof text === 'string' && Number.isInteger(seconds) && seconds >= 1 && seconds <= MAX_SECONDS
    ? seconds
    : undefined;
}
