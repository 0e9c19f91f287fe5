import { retry } from '../runtime/backoff.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/log.ts';
import type { KubeClient, RawOptions } from './client.ts';
import { asSliceHandlers } from './endpoints-as-slices.ts';
import { ApiError } from './errors.ts';
import type { InformerSet } from './informer.ts';
import type { InformerHandlers } from './object-store.ts';
import { apiVersionOf, collectionPath, endpointSlices, endpoints, services } from './resources.ts';
import { parseStatus } from './transport.ts';
import type { EndpointSlice, Service } from './types.ts';

/** What a reader needs of an informer. */
export interface ObjectSource<T> {
  subscribe(handlers: InformerHandlers<T>): () => void;
  synced(signal?: AbortSignal): Promise<void>;
}

export interface ServiceSources {
  services: ObjectSource<Service>;
  endpointSlices: ObjectSource<EndpointSlice>;
  /** Asks the server what it can, then starts the informers; until then the sources are silent. */
  run(signal: AbortSignal): Promise<void>;
}

/** Kubernetes 1.33 and later select Services by it; older ones answer 400. */
const NOT_HEADLESS = 'spec.clusterIP!=None';
const RETRY = { initialMs: 100, maxMs: 10_000, jitter: 0.5 };

/**
 * Services and EndpointSlices of a server of any age: before 1.21 there is no discovery.k8s.io/v1, and the slices are made of core/v1
 * Endpoints; an older server that cannot leave out headless Services hands them over, and their readers skip them.
 * The server is asked once, at the start.
 */
export function createServiceSources(
  options: { labelSelector: string },
  deps: { client: KubeClient; informers: InformerSet; log: Logger; clock: Clock },
): ServiceSources {
  const { labelSelector } = options;
  const { client, informers, log } = deps;
  const chosen = {
    services: Promise.withResolvers<ObjectSource<Service>>(),
    endpointSlices: Promise.withResolvers<ObjectSource<EndpointSlice>>(),
  };

  async function refuses(
    path: string,
    query: RawOptions['query'],
    code: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const response = await client.raw(path, { query, signal });
    const text = await response.body.text();
    if (response.statusCode === code) return true;
    if (response.statusCode === 200) return false;
    // 403 too may pass: a server that has just started knows its own roles a moment later.
    throw new ApiError(parseStatus(response.statusCode, text, `GET ${path}`));
  }

  return {
    services: laterSource(chosen.services.promise),
    endpointSlices: laterSource(chosen.endpointSlices.promise),
    async run(signal) {
      const ask = (path: string, query: RawOptions['query'], code: number) =>
        retry(() => refuses(path, query, code, signal), {
          ...RETRY,
          clock: deps.clock,
          signal,
          onFailure: (err, retryMs) => log.warn({ err, retryMs }, 'the API server does not tell yet what it can'),
        });
      try {
        const [cannotSelect, hasNoSlices] = await Promise.all([
          ask(collectionPath(services), { limit: 1, fieldSelector: NOT_HEADLESS }, 400),
          ask(`/apis/${apiVersionOf(endpointSlices)}`, {}, 404),
        ]);
        const fieldSelector = cannotSelect ? {} : { fieldSelector: NOT_HEADLESS };
        chosen.services.resolve(informers.informer(services, { labelSelector, ...fieldSelector }));
        if (hasNoSlices) {
          log.info('the API server has no discovery.k8s.io/v1: reading core/v1 Endpoints instead');
          const informer = informers.informer(endpoints, { labelSelector });
          chosen.endpointSlices.resolve({
            synced: informer.synced,
            subscribe: (handlers) => informer.subscribe(asSliceHandlers(handlers)),
          });
        } else chosen.endpointSlices.resolve(informers.informer(endpointSlices, { labelSelector }));
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      await aborted(signal).catch(() => {});
    },
  };
}

/** A source that is not known yet: subscriptions wait for it. */
export function laterSource<T>(source: Promise<ObjectSource<T>>): ObjectSource<T> {
  return {
    subscribe(handlers) {
      let isOver = false;
      let stop = () => {};
      void source.then((known) => {
        if (!isOver) stop = known.subscribe(handlers);
      });
      return () => {
        isOver = true;
        stop();
      };
    },
    synced(signal) {
      const synced = source.then((known) => known.synced(signal));
      return signal ? Promise.race([synced, aborted(signal)]) : synced;
    },
  };
}

/** Rejects with the signal's reason once it aborts. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
