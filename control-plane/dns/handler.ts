import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type AnswerBody, emptyBody, encodeAnswer, encodeBareError, udpLimitBytes } from './answer.ts';
import type { Clients } from './clients.ts';
import type { DnsMetrics } from './metrics.ts';
import { isInternet, parseQuery, type Query } from './query.ts';
import type { Resolver } from './resolver.ts';
import type { Transport } from './upstream/exchange.ts';
import { followAlias } from './upstream/follow.ts';
import { type Forwarder, truncateAnswer } from './upstream/forwarder.ts';
import type { LoopGuard } from './upstream/loop-guard.ts';
import { RCODE, TYPE } from './wire.ts';

/** No query is longer; over UDP more would not come, over TCP it is refused before it is read. */
export const MAX_QUERY_BYTES = 4096;
const TCP_LIMIT_BYTES = 65_535;
const TOO_LONG = { problem: 'too long', reply: 'FORMERR' } as const;
const STRANGER = { problem: 'client', reply: 'REFUSED' } as const;

export interface Peer {
  address: string;
  family: 4 | 6;
  transport: Transport;
}

export interface HandlerDependencies {
  resolver: Resolver;
  forwarder: Forwarder;
  loopGuard: LoopGuard;
  clients: Clients;
  metrics: DnsMetrics;
  clock: Clock;
  log: Logger;
}

/** From a message to the message that answers it. What is in the zone is answered at once; the rest when the host's servers have spoken. */
export function createHandler(dependencies: HandlerDependencies) {
  const { resolver, forwarder, loopGuard, clients, metrics, clock, log } = dependencies;
  /** Whose turn it is to come first, where answers have no order. */
  let turn = 0;

  /** Sends an answer and counts it. */
  function createExchange(query: Query, peer: Peer, send: (answer: Buffer) => void) {
    const startedMs = clock.monotonicMs();
    const limitBytes = peer.transport === 'udp' ? udpLimitBytes(query) : TCP_LIMIT_BYTES;
    function finish(answer: Buffer, plugin: string): void {
      send(answer);
      const seconds = (clock.monotonicMs() - startedMs) / 1000;
      metrics.answered(query, peer, answer, seconds, plugin);
    }
    return {
      /** With a body of our own. */
      own(body: AnswerBody, plugin: string): void {
        turn = (turn + 1) & 0xffff;
        finish(encodeAnswer(query, body, limitBytes, turn), plugin);
      },
      /** With another server's answer. */
      foreign(answer: Buffer, plugin: string): void {
        finish(answer.length > limitBytes ? truncateAnswer(answer, query.questionEnd) : answer, plugin);
      },
    };
  }

  function handle(message: Buffer, peer: Peer, send: (answer: Buffer) => void): void {
    const query = message.length > MAX_QUERY_BYTES ? TOO_LONG : parseQuery(message);
    const problem = 'problem' in query ? query : clients.allows(peer.address) ? undefined : STRANGER;
    if (problem) {
      metrics.refused(problem.problem);
      if (problem.reply !== 'drop') send(encodeBareError(message, RCODE[problem.reply]));
    } else answer(query as Query, peer, send);
  }

  function answer(query: Query, peer: Peer, send: (answer: Buffer) => void): void {
    const exchange = createExchange(query, peer, send);
    const refusal = refusalOf(query);
    if (refusal !== undefined) {
      exchange.own(emptyBody(refusal), '');
      return;
    }
    const found = resolver.resolve(query.name, query.type);
    if (found.kind === 'answer') exchange.own(found.body, 'kubernetes');
    else if (found.kind === 'alias')
      followAlias(forwarder, found.body, found.target, query.type)
        .then((body) => exchange.own(body, 'kubernetes'))
        .catch(fail);
    else if (loopGuard.isProbe(query.name, query.type)) exchange.own(emptyBody(RCODE.REFUSED), 'loop');
    else {
      const cached = forwarder.cached(query);
      if (cached) exchange.foreign(cached, 'cache');
      else
        forwarder
          .forward(query, peer.transport)
          .then((result) =>
            'answer' in result
              ? exchange.foreign(result.answer, 'forward')
              : exchange.own(emptyBody(result.rcode), 'forward'),
          )
          .catch(fail);
    }
  }

  function fail(error: unknown): void {
    metrics.failed();
    log.error({ err: error }, 'a query could not be answered');
  }

  return (message: Buffer, peer: Peer, send: (answer: Buffer) => void): void => {
    try {
      handle(message, peer, send);
    } catch (error) {
      fail(error);
    }
  };
}

export type Handler = ReturnType<typeof createHandler>;

/** What is not answered to anybody: other classes, zone transfers, an EDNS that nobody has defined yet. */
function refusalOf(query: Query): number | undefined {
  if (query.edns && query.edns.version > 0) return RCODE.BADVERS;
  if (!isInternet(query)) return RCODE.REFUSED;
  if (query.type === TYPE.AXFR || query.type === TYPE.IXFR || query.type === TYPE.OPT) return RCODE.REFUSED;
  return undefined;
}
