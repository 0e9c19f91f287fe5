import type { TraceOutcome, TraceStep } from './packet.ts';

/** Where packets of a kind may end, each place once. */
export interface End {
  verdict: TraceOutcome['verdict'];
  /** `ip:port` behind the translation. */
  destination: string;
  /** 0…1. */
  probability: number;
  /** Whether its source becomes an address of the node. */
  isMasqueraded: boolean;
  /** The rules that hold on the way there, in order: of the first way, where there are several. */
  rules: readonly TraceStep[];
  /** Rules that might hold, but cannot be judged. */
  doubts: readonly string[];
}

/** Ways to the same place as one, in the order of the rules. */
export function summarizeEnds(outcomes: readonly TraceOutcome[]): End[] {
  const ends = new Map<string, End>();
  for (const { verdict, destination, isMasqueraded, probability, path, doubts } of outcomes) {
    const key = keyOf({ verdict, destination, isMasqueraded });
    const known = ends.get(key);
    ends.set(key, {
      verdict,
      destination,
      isMasqueraded,
      probability: (known?.probability ?? 0) + probability,
      rules: known?.rules ?? path,
      doubts: known?.doubts ?? doubts,
    });
  }
  return [...ends.values()];
}

type Place = Pick<End, 'verdict' | 'destination' | 'isMasqueraded'>;

/** A refused packet ends where it was refused, whatever it was on its way to. */
function keyOf({ verdict, destination, isMasqueraded }: Place): string {
  return verdict === 'ACCEPT' ? `${destination} ${isMasqueraded}` : verdict;
}

/** Probabilities are written with some decimals and kept with 31 bits. */
const SAME_CHANCE = 1e-3;

/** Where the kernel's rules lead otherwise than the rendered ones, in sentences; nothing where they agree. */
export function compareEnds(rendered: readonly End[], live: readonly End[]): string[] {
  const differences: string[] = [];
  const inKernel = new Map(live.map((end) => [keyOf(end), end]));
  const wanted = new Set(rendered.map(keyOf));
  for (const end of rendered) {
    const twin = inKernel.get(keyOf(end));
    if (!twin) differences.push(`the kernel's rules never lead to: ${describeEnd(end)}`);
    else if (Math.abs(twin.probability - end.probability) > SAME_CHANCE)
      differences.push(
        `${describeEnd(end)}: ${percent(end.probability)} as rendered, ${percent(twin.probability)} in the kernel`,
      );
  }
  for (const end of live)
    if (!wanted.has(keyOf(end))) {
      const last = end.rules.at(-1);
      const by = last ? ` (by ${last.table} ${last.chain}: ${last.rule})` : '';
      differences.push(`the kernel's rules also lead to: ${describeEnd(end)}${by}`);
    }
  return differences;
}

/** `10.244.0.1:8080, client address replaced`, `refused`. */
export function describeEnd({ verdict, destination, isMasqueraded }: Place): string {
  if (verdict === 'DROP') return 'dropped';
  if (verdict === 'REJECT') return 'refused';
  return isMasqueraded ? `${destination}, client address replaced` : destination;
}

/** `33.3 %`. */
export function percent(probability: number): string {
  return `${Number((probability * 100).toFixed(1))} %`;
}
