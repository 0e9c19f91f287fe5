import { setImmediate as nextTurn } from 'node:timers/promises';

/** About a millisecond each of parsing or printing objects. */
const PER_TURN = 200;

/** Maps a long list without keeping the event loop (and the probes and leases on it) from other work. */
export async function mapInTurns<T, R>(items: readonly T[], map: (item: T) => R): Promise<R[]> {
  if (items.length <= PER_TURN) return items.map(map);
  const results: R[] = [];
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % PER_TURN === 0) await nextTurn();
    results.push(map(item));
  }
  return results;
}
