import { randomInt } from 'node:crypto';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { Query } from '../query.ts';
import { CLASS_IN, EDNS_UDP_BYTES, FLAG, HEADER_BYTES, RCODE, rcodeName, TYPE } from '../wire.ts';
import { type CacheOptions, createAnswerCache } from './cache.ts';
import { exchange as exchangeOverNetwork, type Transport } from './exchange.ts';
import type { UpstreamServer } from './host-resolvers.ts';

export interface ForwarderOptions {
  /** More queries than this at the same time are refused. */
  maxConcurrent: number;
  /** For one try; there are two. */
  timeoutMs: number;
  cache: CacheOptions;
}

/** Numbers that the forwarder tells as it works. */
export interface ForwarderObserver {
  cacheHit(isDenial: boolean): void;
  cacheMiss(): void;
  exchanged(server: UpstreamServer, rcode: string, seconds: number): void;
  rejected(): void;
}

export interface ForwarderDependencies {
  /** In the order in which they are asked. */
  servers(): readonly UpstreamServer[];
  observer: ForwarderObserver;
  clock: Clock;
  log: Logger;
  exchange?: typeof exchangeOverNetwork;
}

/** Why there is no answer: refused right away, or every try failed. */
export type Forwarded = { answer: Buffer } | { rcode: number };

const TRIES = 2;
/** A server that failed is asked last for so long. */
const DISTRUST_MS = 5000;

/** Asks the host's name servers, and remembers what they said. */
export function createForwarder(options: ForwarderOptions, dependencies: ForwarderDependencies) {
  const { servers, observer, clock, log, exchange = exchangeOverNetwork } = dependencies;
  const cache = createAnswerCache(options.cache, clock);
  const inFlight = new Map<string, Promise<Forwarded>>();
  const distrustedUntilMs = new Map<string, number>();
  let barred: string | undefined;

  /** The two servers to try, the trusted first. */
  function candidates(): UpstreamServer[] {
    const now = clock.monotonicMs();
    const isTrusted = ({ address }: UpstreamServer) => (distrustedUntilMs.get(address) ?? 0) <= now;
    const all = servers();
    const ordered = [...all.filter(isTrusted), ...all.filter((server) => !isTrusted(server))];
    if (ordered.length === 0) return [];
    return Array.from({ length: TRIES }, (_, index) => ordered[index % ordered.length]!);
  }

  async function ask(query: Query, transport: Transport): Promise<Forwarded> {
    let refusal: Buffer | undefined;
    for (const server of candidates()) {
      const request = buildRequest(query);
      const startedMs = clock.monotonicMs();
      const took = () => (clock.monotonicMs() - startedMs) / 1000;
      try {
        const answer = await exchange(server, request, query.questionEnd, { transport, timeoutMs: options.timeoutMs });
        const rcode = answer[3]! & 0xf;
        observer.exchanged(server, rcodeName(rcode), took());
        if (rcode !== RCODE.SERVFAIL && rcode !== RCODE.REFUSED) return { answer };
        refusal = answer;
      } catch (error) {
        observer.exchanged(server, 'error', took());
        distrustedUntilMs.set(server.address, clock.monotonicMs() + DISTRUST_MS);
        log.debug({ server: server.address, name: query.name, err: error }, 'a name server did not answer');
      }
    }
    return refusal ? { answer: refusal } : { rcode: RCODE.SERVFAIL };
  }

  return {
    /** The answer from the cache, made to fit `query`; undefined when it must be asked for. */
    cached(query: Query): Buffer | undefined {
      const hit = cache.get(keyOf(query));
      if (!hit) return undefined;
      observer.cacheHit(hit.isDenial);
      return fitAnswer(hit.message, query);
    },
    /** Asks the servers; the same question at the same time is asked once. Never rejects. */
    async forward(query: Query, transport: Transport): Promise<Forwarded> {
      if (barred !== undefined || servers().length === 0) return { rcode: RCODE.SERVFAIL };
      const key = keyOf(query);
      const flight = `${transport} ${key}`;
      observer.cacheMiss();
      let pending = inFlight.get(flight);
      if (!pending) {
        if (inFlight.size >= options.maxConcurrent) {
          observer.rejected();
          return { rcode: RCODE.REFUSED };
        }
        pending = ask(query, transport)
          .then((result) => {
            if ('answer' in result) cache.put(key, result.answer);
            return result;
          })
          .finally(() => inFlight.delete(flight));
        inFlight.set(flight, pending);
      }
      const result = await pending;
      return 'answer' in result ? { answer: fitAnswer(Buffer.from(result.answer), query) } : result;
    },
    /** Nobody is asked any more, for this reason; undefined ends it. */
    bar(reason: string | undefined): void {
      barred = reason;
      if (reason === undefined) cache.clear();
    },
    /** Questions that wait for a server's answer. */
    waiting: () => inFlight.size,
    cacheEntries: () => cache.size(),
  };
}

export type Forwarder = ReturnType<typeof createForwarder>;

/** Answers differ by what the client can read (EDNS, signatures) and wants checked. */
function keyOf({ name, type, class: queryClass, edns, flags }: Query): string {
  return `${name} ${type} ${queryClass} ${edns ? (edns.dnssecOk ? 2 : 1) : 0} ${flags & 0x10}`;
}

/** The client's question under an id of our own. */
function buildRequest(query: Query): Buffer {
  const request = Buffer.alloc(query.questionEnd + (query.edns ? 11 : 0));
  query.message.copy(request, HEADER_BYTES, HEADER_BYTES, query.questionEnd);
  request.writeUInt16BE(randomInt(0x10000), 0);
  request.writeUInt16BE(FLAG.desired | (query.flags & 0x30), 2);
  request.writeUInt16BE(1, 4);
  if (query.edns) {
    request.writeUInt16BE(1, 10);
    request.writeUInt16BE(TYPE.OPT, query.questionEnd + 1);
    request.writeUInt16BE(EDNS_UDP_BYTES, query.questionEnd + 3);
    request.writeUInt16BE(query.edns.dnssecOk ? 0x8000 : 0, query.questionEnd + 7);
  }
  return request;
}

/** Makes an answer to the same question one to this query: its id, its letters' case, its RD. Changes `answer` in place. */
function fitAnswer(answer: Buffer, query: Query): Buffer {
  answer.writeUInt16BE(query.id, 0);
  query.message.copy(answer, HEADER_BYTES, HEADER_BYTES, query.questionEnd);
  const desired = query.flags & FLAG.desired;
  answer.writeUInt16BE((answer.readUInt16BE(2) & ~FLAG.desired) | desired, 2);
  return answer;
}

/** An answer that is too long for UDP: the question with the flag that makes the client ask again by TCP. */
export function truncateAnswer(answer: Buffer, questionEnd: number): Buffer {
  const short = Buffer.from(answer.subarray(0, questionEnd));
  short.writeUInt16BE(short.readUInt16BE(2) | FLAG.truncated, 2);
  short.writeUInt16BE(0, 6);
  short.writeUInt32BE(0, 8);
  return short;
}

/** A question of the server's own. */
export function buildQuery(name: string, type: number, encodedName: Buffer): Query {
  const questionEnd = HEADER_BYTES + encodedName.length + 4;
  const message = Buffer.alloc(questionEnd);
  message.writeUInt16BE(1, 4);
  encodedName.copy(message, HEADER_BYTES);
  message.writeUInt16BE(type, questionEnd - 4);
  message.writeUInt16BE(CLASS_IN, questionEnd - 2);
  const edns = { udpBytes: EDNS_UDP_BYTES, version: 0, dnssecOk: false };
  return { message, id: 0, flags: FLAG.desired, name, type, class: CLASS_IN, questionEnd, edns };
}
