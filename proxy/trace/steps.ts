import ipaddr from 'ipaddr.js';
import { EPSILON, evaluate, lookUp, type Place, type State, type Weighted } from './evaluate.ts';
import type { Rule, Step, Verdict } from './ruleset.ts';

/** What a rule did to a packet, on one of the ways that chance may take. */
export type RuleResult =
  /** It did not hold; the chain goes on with the packet as it was. */
  | { held: false; state: State }
  /** It held, and then: go on below, or do as the verdict says. */
  | { held: true; state: State; verdict: Verdict };

const CONTINUE: Verdict = { kind: 'CONTINUE' };
const ACCEPT: Verdict = { kind: 'ACCEPT' };

/** Takes a packet through the steps of one rule. The chances of all results add up to that of the state. */
export function runRule(rule: Rule, start: State, place: Place, about: () => string): RuleResult[] {
  const results: RuleResult[] = [];
  let missed = 0;
  let doubts = start.doubts;
  let states = [start];
  for (const step of rule.steps) {
    const next: State[] = [];
    for (const state of states) {
      if (step.kind === 'unknown') doubts = [...doubts, `${about()}: cannot judge "${step.text}"`];
      for (const { value, probability } of takeStep(step, state, place)) {
        const chance = state.probability * probability;
        if (value === undefined) missed += chance;
        else if (value.verdict && value.verdict.kind !== 'CONTINUE')
          results.push({ held: true, state: { ...value.state, probability: chance }, verdict: value.verdict });
        else next.push(probability === 1 ? value.state : { ...value.state, probability: chance });
      }
    }
    states = next;
    if (states.length === 0) break;
  }
  for (const state of states) results.push({ held: true, state, verdict: CONTINUE });
  // Nothing has held: whatever the steps did to the packet on the way to the one that failed is undone, as a rule is all or nothing here.
  if (missed > start.probability * EPSILON)
    results.push({
      held: false,
      state:
        missed === start.probability && doubts === start.doubts ? start : { ...start, probability: missed, doubts },
    });
  return results;
}

type Taken = Weighted<{ state: State; verdict?: Verdict } | undefined>[];

function takeStep(step: Step, state: State, place: Place): Taken {
  switch (step.kind) {
    case 'note':
    case 'remember':
      return held(state);
    case 'unknown':
      return MISSED;
    case 'match':
      // A set that packets themselves fill: whether it holds this client is the question's to say.
      if (place.host.remembered?.includes(step.elements.name ?? '')) return step.negated ? MISSED : held(state);
      return lookUp(step.key, step.elements, state, place).map(({ value, probability }) => ({
        value: (value !== undefined) === step.negated ? undefined : { state },
        probability,
      }));
    case 'connection':
      return step.states.some((one) => isState(one, state)) === step.negated ? MISSED : held(state);
    case 'chance':
      return [
        { value: { state }, probability: step.probability },
        { value: undefined, probability: 1 - step.probability },
      ].filter(({ probability }) => probability > 0);
    case 'remembered':
      return (place.host.remembered?.includes(step.list) ?? false) === step.negated ? MISSED : held(state);
    case 'mark':
      return orMissed(
        evaluate(step.value, state, place).map(({ value, probability }) => ({
          value: { state: { ...state, mark: Number(value[0]) } },
          probability,
        })),
      );
    case 'dnat': {
      const total = step.targets.reduce((sum, { weight }) => sum + weight, 0);
      // A virtual server without a real one answers "port unreachable".
      if (total === 0) return held(state, { kind: 'REJECT' });
      return step.targets
        .filter(({ weight }) => weight > 0)
        .map(({ address, port, weight }) => ({
          value: { state: translate(state, address, port), verdict: ACCEPT },
          probability: weight / total,
        }));
    }
    case 'dnatTo':
      return orMissed(
        evaluate(step.to, state, place).map(({ value, probability }) => ({
          value: {
            state: translate(state, value[0]!, value[1] === undefined ? undefined : Number(value[1])),
            verdict: ACCEPT,
          },
          probability,
        })),
      );
    case 'redirect':
      return held(translate(state, redirectAddress(state, place), step.port), ACCEPT);
    case 'masquerade':
      return held({ ...state, isMasqueraded: true }, ACCEPT);
    case 'snat':
      return held({ ...state, isMasqueraded: true, packet: { ...state.packet, source: step.address } }, ACCEPT);
    case 'verdict':
      return held(state, step.verdict);
    case 'verdictMap':
      return lookUp(step.key, step.map, state, place).map(({ value, probability }) => ({
        value: value && { state, verdict: value.value },
        probability,
      }));
  }
}

const MISSED: Taken = [{ value: undefined, probability: 1 }];

function held(state: State, verdict?: Verdict): Taken {
  return [{ value: { state, verdict }, probability: 1 }];
}

/** An expression that has no value ends the rule. */
function orMissed(taken: Taken): Taken {
  const missing = 1 - taken.reduce((sum, { probability }) => sum + probability, 0);
  return missing > EPSILON ? [...taken, { value: undefined, probability: missing }] : taken;
}

function isState(name: string, { isTranslated, isMasqueraded }: State): boolean {
  return name === 'new' || (name === 'dnat' && isTranslated) || (name === 'snat' && isMasqueraded);
}

function translate(state: State, address: string, port: number | undefined): State {
  const packet = { ...state.packet, destination: address, destinationPort: port ?? state.packet.destinationPort };
  return { ...state, packet, isTranslated: true };
}

/** The kernel takes loopback for its own packets, the first address of the interface for those that come in. */
function redirectAddress({ packet }: State, { host }: Place): string {
  const isV6 = packet.source.includes(':');
  const ofFamily = host.localAddresses.find((address) => ipaddr.parse(address).kind() === (isV6 ? 'ipv6' : 'ipv4'));
  return packet.inInterface !== undefined && ofFamily ? ofFamily : isV6 ? '::1' : '127.0.0.1';
}
