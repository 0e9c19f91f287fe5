import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { MAX_MANIFEST_BYTES } from './manifest.ts';
import type { PodSource } from './source.ts';
import { createStaticPodSet, type ManifestProblems } from './static-set.ts';

export interface HttpSourceOptions {
  /** `staticPodURL` */
  url: string;
  /** `staticPodURLHeader` */
  headers: Readonly<Record<string, readonly string[]>>;
  nodeName: string;
  /** `httpCheckFrequency`, 20 s. */
  checkMs: number;
  /** Of one answer as a whole; 10 s unless a test says otherwise. */
  timeoutMs?: number;
}

const TIMEOUT_MS = 10_000;
/** A server that is down for a day is not worth a line every 20 s. */
const FAILURES_TOLD = 3;

/**
 * Pods from a URL that answers with a Pod or a PodList. Whatever is no such answer (4xx, 5xx, silence, too much of it, something else) leaves
 * running what runs; only an answer without pods ends them.
 */
export function createHttpSource(
  options: HttpSourceOptions,
  deps: { clock: Clock; log: Logger; problems?: ManifestProblems | undefined },
): PodSource {
  const { url, nodeName, timeoutMs = TIMEOUT_MS } = options;
  const { clock, log } = deps;
  const origin = withoutCredentials(url);
  const set = createStaticPodSet({ nodeName, source: 'http', lists: true }, deps);
  const { headers, href } = requestOf(options);
  let seen: string | undefined;
  let failures = 0;

  /** @returns the body when it is another than last time. */
  async function fetchManifest(signal: AbortSignal): Promise<string | undefined> {
    const soon = AbortSignal.timeout(timeoutMs);
    const response = await fetch(href, { headers, signal: AbortSignal.any([signal, soon]) });
    try {
      if (response.status !== 200) throw new Error(`answered ${response.status} ${response.statusText}`.trim());
      const text = await readLimited(response);
      if (text === seen) return undefined;
      seen = text;
      return text;
    } finally {
      // An answer that is not read to its end holds its connection.
      await response.body?.cancel().catch(() => undefined);
    }
  }

  function failed(error: unknown) {
    failures++;
    const message = describe(error, timeoutMs);
    const level = failures <= FAILURES_TOLD ? 'warn' : 'debug';
    const quiet = failures === FAILURES_TOLD ? ' (not told again until it succeeds)' : '';
    log[level]({ origin }, `static pods could not be read: ${message}${quiet}`);
    if (failures === 1) deps.problems?.(`GET ${origin}`, message);
  }

  return {
    name: 'http',
    async run(sink, signal) {
      while (!signal.aborted) {
        try {
          const text = await fetchManifest(signal);
          if (text !== undefined) sink.set(set.update(text === '' ? [] : [{ origin, text }]));
          if (failures > 0) {
            log.info({ origin }, 'static pods could be read again');
            deps.problems?.(`GET ${origin}`, undefined);
          }
          failures = 0;
        } catch (error) {
          if (!signal.aborted) failed(error);
        }
        await clock.sleep(options.checkMs, signal).catch(() => undefined);
      }
    },
  };
}

async function readLimited(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MAX_MANIFEST_BYTES) throw new Error(`answered with more than ${MAX_MANIFEST_BYTES >> 20} MiB`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** `fetch` refuses a URL that carries a login. */
function requestOf({ url, headers }: HttpSourceOptions): { headers: [string, string][]; href: string } {
  const list = Object.entries(headers).flatMap(([name, values]) =>
    values.map((value): [string, string] => [name, value]),
  );
  const parsed = new URL(url);
  if (parsed.username === '') return { headers: list, href: parsed.href };
  const login = `${decodeURIComponent(parsed.username)}:${decodeURIComponent(parsed.password)}`;
  parsed.username = '';
  parsed.password = '';
  const basic: [string, string] = ['authorization', `Basic ${Buffer.from(login).toString('base64')}`];
  return { headers: [basic, ...list], href: parsed.href };
}

/** As logs and events may show it. */
function withoutCredentials(url: string): string {
  const parsed = new URL(url);
  if (parsed.password !== '') parsed.password = 'xxxxx';
  return parsed.href;
}

function describe(error: unknown, timeoutMs: number): string {
  const { name, message, cause } = error as Error;
  if (name === 'TimeoutError') return `no whole answer within ${timeoutMs / 1000} s`;
  return cause instanceof Error ? `${message}: ${cause.message || (cause as NodeJS.ErrnoException).code}` : message;
}
