import { joinHostPort } from '../state/addresses.ts';
import { type Walk, walkBaseChain } from './chain-walk.ts';
import { canonicalAddress } from './elements.ts';
import { isLocalAddress } from './evaluate.ts';
import type { Packet, TraceHost, TraceOutcome } from './packet.ts';
import type { BaseChain, Hook, Ruleset } from './ruleset.ts';

/**
 * Leads a packet through rules the way the kernel does, along every branch that chance may take. Several rulesets stand in the
 * kernel side by side, ordered by priority.
 * @throws Error when a rule names a chain that there is not.
 */
export function walkPacket(rulesets: readonly Ruleset[], asked: Packet, host: TraceHost): TraceOutcome[] {
  const packet = {
    ...asked,
    source: canonicalAddress(asked.source),
    destination: canonicalAddress(asked.destination),
  };
  const bound = rulesets.flatMap(({ boundAddresses }) => boundAddresses ?? []);
  const journey: Journey = {
    stations: rulesets
      .flatMap((ruleset) => ruleset.baseChains.map((base) => ({ ruleset, base })))
      .sort((a, b) => a.base.priority - b.base.priority),
    host: { ...host, localAddresses: [...host.localAddresses, ...bound].map(canonicalAddress) },
    outcomes: [],
  };
  const state = {
    packet,
    original: packet,
    mark: 0,
    isTranslated: false,
    isMasqueraded: false,
    probability: 1,
    path: [],
    doubts: [],
  };
  if (packet.inInterface === undefined) sendOwn(journey, { state });
  else receive(journey, { state });
  return journey.outcomes;
}

interface Journey {
  stations: readonly { ruleset: Ruleset; base: BaseChain }[];
  host: TraceHost;
  /** Grows as ways end. */
  outcomes: TraceOutcome[];
}

function receive(journey: Journey, arrived: Walk): void {
  for (const walk of pass(journey, arrived, 'prerouting')) {
    if (isHere(journey, walk)) deliver(journey, walk);
    else for (const sent of pass(journey, walk, 'forward')) leave(journey, sent);
  }
}

/** A packet of the host's own; one that is meant for itself comes in again by lo, its translation already decided. */
function sendOwn(journey: Journey, own: Walk): void {
  for (const walk of pass(journey, own, 'output'))
    for (const sent of pass(journey, walk, 'postrouting'))
      if (!isHere(journey, sent)) finish(journey, sent);
      else for (const back of pass(journey, sent, 'prerouting', LOOPED_BACK)) deliver(journey, back, LOOPED_BACK);
}

/** The kernel's load balancer sits in front of local processes, and sends what is not for this host out again. */
function deliver(journey: Journey, walk: Walk, how: Passage = {}): void {
  for (const one of pass(journey, walk, 'input', how))
    if (isHere(journey, one)) finish(journey, one);
    else for (const sent of pass(journey, one, 'output', { isNatDone: true })) leave(journey, sent);
}

function leave(journey: Journey, walk: Walk): void {
  for (const sent of pass(journey, walk, 'postrouting')) finish(journey, sent);
}

interface Passage {
  /** The connection's translation at this hook was decided before: nat chains are not asked. */
  isNatDone?: boolean;
  isLoopedBack?: boolean;
}

const LOOPED_BACK: Passage = { isNatDone: true, isLoopedBack: true };

/** Takes a packet through all base chains of a hook. Those that are dropped there are finished; the rest comes back. */
function pass(journey: Journey, walk: Walk, hook: Hook, { isNatDone, isLoopedBack = false }: Passage = {}): Walk[] {
  const place = { host: journey.host, isRouted: hook !== 'prerouting' && hook !== 'output', isLoopedBack };
  const isSource = hook === 'postrouting' || hook === 'input';
  let walks = [walk];
  for (const { ruleset, base } of journey.stations) {
    if (base.hook !== hook || (base.kind === 'nat' && isNatDone)) continue;
    walks = walks.flatMap((one) => {
      const isDecided = isSource ? one.state.isMasqueraded : one.state.isTranslated;
      if (base.kind === 'nat' && isDecided) return [one];
      return walkBaseChain(ruleset, base, one.state, place).filter((after) => {
        if (after.fate === 'ACCEPT') return true;
        finish(journey, after);
        return false;
      });
    });
  }
  return walks;
}

function isHere({ host }: Journey, { state }: Walk): boolean {
  return isLocalAddress(state.packet.destination, host);
}

function finish(journey: Journey, walk: Walk): void {
  const { packet, isMasqueraded, probability, path, doubts } = walk.state;
  journey.outcomes.push({
    verdict: walk.fate ?? 'ACCEPT',
    destination: joinHostPort(packet.destination, packet.destinationPort),
    isDeliveredHere: isHere(journey, walk),
    isMasqueraded,
    probability,
    path,
    doubts,
  });
}
