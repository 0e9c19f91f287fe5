import type { Clock } from '../../../src/runtime/clock.ts';
import { RCODE } from '../wire.ts';
import { inspectResponse } from './response.ts';

export interface CacheOptions {
  maxEntries: number;
  /** Answers are kept at least and at most so long, whatever their TTL (upstream's `cache 30`). */
  minTtlSeconds: number;
  maxTtlSeconds: number;
  /** A server's failure is remembered so long. */
  failureTtlSeconds: number;
}

export const CACHE_DEFAULTS: CacheOptions = {
  maxEntries: 9984,
  minTtlSeconds: 5,
  maxTtlSeconds: 30,
  failureTtlSeconds: 5,
};

interface Entry {
  message: Buffer;
  ttlOffsets: number[];
  isDenial: boolean;
  storedMs: number;
  expiresMs: number;
}

/** Answers of other servers, as they came, by question. The oldest goes when there are too many. */
export function createAnswerCache(options: CacheOptions, clock: Clock) {
  const entries = new Map<string, Entry>();

  return {
    /** The answer with its TTLs as they are by now, in a buffer of its own. */
    get(key: string): { message: Buffer; isDenial: boolean } | undefined {
      const entry = entries.get(key);
      if (!entry) return undefined;
      const nowMs = clock.monotonicMs();
      if (nowMs >= entry.expiresMs) {
        entries.delete(key);
        return undefined;
      }
      const ageSeconds = Math.floor((nowMs - entry.storedMs) / 1000);
      const message = Buffer.from(entry.message);
      for (const offset of entry.ttlOffsets)
        message.writeUInt32BE(Math.max(0, message.readUInt32BE(offset) - ageSeconds), offset);
      return { message, isDenial: entry.isDenial };
    },
    put(key: string, response: Buffer): void {
      const facts = inspectResponse(response);
      if (!facts || facts.isTruncated) return;
      let ttlSeconds: number;
      if (facts.rcode === RCODE.SERVFAIL) ttlSeconds = options.failureTtlSeconds;
      else if (facts.rcode !== RCODE.NOERROR && facts.rcode !== RCODE.NXDOMAIN) return;
      else if (facts.ttlSeconds === undefined) return;
      else ttlSeconds = Math.min(Math.max(facts.ttlSeconds, options.minTtlSeconds), options.maxTtlSeconds);
      // The copy's TTLs never promise more than this cache itself keeps.
      const message = Buffer.from(response);
      for (const offset of facts.ttlOffsets)
        message.writeUInt32BE(
          Math.min(Math.max(message.readUInt32BE(offset), ttlSeconds), options.maxTtlSeconds),
          offset,
        );
      const storedMs = clock.monotonicMs();
      entries.delete(key);
      entries.set(key, {
        message,
        ttlOffsets: facts.ttlOffsets,
        isDenial: facts.answers === 0,
        storedMs,
        expiresMs: storedMs + ttlSeconds * 1000,
      });
      if (entries.size > options.maxEntries) entries.delete(entries.keys().next().value!);
    },
    clear: () => entries.clear(),
    size: () => entries.size,
  };
}
