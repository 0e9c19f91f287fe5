import { createBackoff } from '../runtime/backoff.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/log.ts';
import type { KubeClient, RawOptions } from './client.ts';
import type { InformerSet } from './informer.ts';
import { apiVersionOf, collectionPath, type Resource } from './resources.ts';
import { laterSource, type ObjectSource } from './service-sources.ts';
import type { KubeObject } from './types.ts';

/** A server that does not know a kind, or does not let us read it, may be replaced by one that does. */
const ASK_AGAIN_MS = 5 * 60_000;
const RETRY = { initialMs: 1000, maxMs: 60_000, jitter: 0.5 };

/** A source of objects that many servers do not have: silent until the server lists them to us. Nobody should wait for it to be synced. */
export function createOptionalSource<T extends KubeObject>(
  resource: Resource<T>,
  deps: { client: KubeClient; informers: InformerSet; log: Logger; clock: Clock },
): { source: ObjectSource<T>; run(signal: AbortSignal): Promise<void> } {
  const { client, informers, log, clock } = deps;
  const chosen = Promise.withResolvers<ObjectSource<T>>();

  async function ask(path: string, query: RawOptions['query'], signal: AbortSignal): Promise<string | undefined> {
    const response = await client.raw(path, { query, signal });
    const text = await response.body.text();
    if (response.statusCode >= 500 || response.statusCode === 429)
      throw new Error(`the API server answers ${response.statusCode}`);
    return response.statusCode === 200 ? text : undefined;
  }

  /** Everybody may ask what kinds there are: for one that a server does not have, RBAC would write a forbidden request into the audit log. */
  async function isListed(signal: AbortSignal): Promise<boolean> {
    const kinds = await ask(`/apis/${apiVersionOf(resource)}`, {}, signal);
    const { resources = [] } = JSON.parse(kinds ?? '{}') as { resources?: { name: string }[] };
    if (!resources.some(({ name }) => name === resource.plural)) return false;
    return (await ask(collectionPath(resource), { limit: 1 }, signal)) !== undefined;
  }

  return {
    source: laterSource(chosen.promise),
    async run(signal) {
      const backoff = createBackoff(RETRY);
      while (!signal.aborted) {
        let delayMs = ASK_AGAIN_MS;
        try {
          if (await isListed(signal)) {
            chosen.resolve(informers.informer(resource));
            await untilAborted(signal);
            return;
          }
          backoff.reset();
          log.debug({ kind: resource.kind }, 'the API server does not list this kind to us');
        } catch {
          delayMs = backoff.nextMs();
        }
        await clock.sleep(delayMs, signal).catch(() => {});
      }
    },
  };
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
