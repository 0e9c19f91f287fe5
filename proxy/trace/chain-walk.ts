import type { Place, State } from './evaluate.ts';
import type { BaseChain, Ruleset, Verdict } from './ruleset.ts';
import { runRule } from './steps.ts';

/** Where a walk has ended: with a fate, or undefined when it goes on (it ran off a chain's end, or returned). */
export interface Walk {
  state: State;
  fate?: 'ACCEPT' | 'DROP' | 'REJECT';
}

/** Takes a packet through a base chain; where the rules decide nothing, the policy does. */
export function walkBaseChain(ruleset: Ruleset, base: BaseChain, state: State, place: Place): Walk[] {
  return walkChain({ ruleset, table: base.table, place }, base.chain, state).map((walk) => ({
    ...walk,
    fate: walk.fate ?? base.policy,
  }));
}

interface Context {
  ruleset: Ruleset;
  table: string;
  place: Place;
}

function walkChain(context: Context, chain: string, start: State): Walk[] {
  const rules = context.ruleset.rules(context.table, chain);
  if (!rules) throw new Error(`a rule of table ${context.table} leads to the chain ${chain}, which there is not`);
  const ended: Walk[] = [];
  // A stack of ways that chance has opened: the first of them comes first among the outcomes.
  const open: { state: State; index: number }[] = [{ state: start, index: 0 }];
  for (let way = open.pop(); way; way = open.pop()) {
    const { index, results } = firstThatHolds(context, chain, rules, way);
    const rule = rules[index];
    if (!rule) {
      ended.push({ state: way.state });
      continue;
    }
    const goOn: State[] = [];
    for (const result of results) {
      if (!result.held) {
        goOn.push(result.state);
        continue;
      }
      const path = [...result.state.path, { table: context.table, chain, rule: rule.text }];
      for (const walk of applyVerdict(context, result.verdict, { ...result.state, path }))
        if (walk.fate || walk.isReturned) ended.push({ state: walk.state, fate: walk.fate });
        else goOn.push(walk.state);
    }
    for (const state of goOn.toReversed()) open.push({ state, index: index + 1 });
  }
  return ended;
}

/** Most rules are about something else: goes on to the one that holds, on this way or on one of several. Updates the way's state. */
function firstThatHolds(
  { table, place }: Context,
  chain: string,
  rules: NonNullable<ReturnType<Ruleset['rules']>>,
  way: { state: State; index: number },
): { index: number; results: ReturnType<typeof runRule> } {
  for (let index = way.index; index < rules.length; index++) {
    const rule = rules[index]!;
    const results = runRule(rule, way.state, place, () => `${table} ${chain} ${rule.text}`);
    if (results.length !== 1 || results[0]!.held) return { index, results };
    way.state = results[0]!.state;
  }
  return { index: rules.length, results: [] };
}

function applyVerdict(context: Context, verdict: Verdict, state: State): (Walk & { isReturned?: boolean })[] {
  switch (verdict.kind) {
    case 'CONTINUE':
      return [{ state }];
    case 'RETURN':
      return [{ state, isReturned: true }];
    case 'jump':
      return walkChain(context, verdict.chain, state);
    case 'goto':
      return walkChain(context, verdict.chain, state).map((walk) => ({ ...walk, isReturned: true }));
    default:
      return [{ state, fate: verdict.kind }];
  }
}
