import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type HttpListener, listenHttp } from './listen.ts';

const RETRY_MS = 5000;

export interface HttpEndpoint {
  name: string;
  address: string;
  /** The configuration field that moves it, for error messages. */
  field: string;
  handler: RequestListener;
  /** Reason of the event when it cannot listen. */
  failureReason: string;
}

export interface HttpEndpoints {
  /** Serves until aborted. With `hardFail` a busy port is an error, else it is tried again every 5 s. */
  run(signal: AbortSignal): Promise<void>;
  /** Where each endpoint answers, by name, once it does. */
  addresses(): ReadonlyMap<string, AddressInfo>;
}

export function createHttpEndpoints(
  endpoints: readonly HttpEndpoint[],
  options: { hardFail: boolean; clock: Clock; log: Logger; warn(reason: string, message: string): void },
): HttpEndpoints {
  const addresses = new Map<string, AddressInfo>();

  async function listen(endpoint: HttpEndpoint, signal: AbortSignal): Promise<HttpListener | undefined> {
    while (!signal.aborted) {
      try {
        return await listenHttp(endpoint.address, endpoint.field, endpoint.handler);
      } catch (error) {
        if (options.hardFail) {
          options.warn(endpoint.failureReason, (error as Error).message);
          throw error;
        }
        options.log.error({ err: error, retryMs: RETRY_MS }, `the ${endpoint.name} server cannot listen`);
        await options.clock.sleep(RETRY_MS, signal).catch(() => {});
      }
    }
    return undefined;
  }

  return {
    addresses: () => addresses,
    async run(signal) {
      await Promise.all(
        endpoints.map(async (endpoint) => {
          const listener = await listen(endpoint, signal);
          if (!listener) return;
          addresses.set(endpoint.name, listener.address);
          if (!signal.aborted)
            await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
          await listener.close();
        }),
      );
    },
  };
}
