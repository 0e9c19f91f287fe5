import test from 'ava';
import { SortedMap } from '../../../proxy/state/sorted-map.ts';

/** A generator of small numbers that is the same every time. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state % limit;
  };
}

test('against a plain Map, through random changes of any size; what was handed out never changes', (t) => {
  const next = random(42);
  let map = SortedMap.empty<number>();
  const model = new Map<string, number>();
  const kept: [SortedMap<number>, [string, number][]][] = [];
  for (let round = 0; round < 120; round++) {
    const changes = new Map<string, number | undefined>();
    for (let count = next(round % 10 === 0 ? 1500 : 6); count >= 0; count--)
      changes.set(`ns/svc-${next(3000)}`, next(3) === 0 ? undefined : next(1000));
    map = map.with(changes);
    for (const [key, value] of changes) {
      if (value === undefined) model.delete(key);
      else model.set(key, value);
    }
    const wanted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
    t.deepEqual([...map], wanted);
    t.is(map.size, wanted.length);
    if (round % 20 === 0) kept.push([map, wanted]);
  }
  for (const [one, wanted] of kept) t.deepEqual([...one.entries()], wanted);
  for (const [key, value] of model) t.is(map.get(key), value);
  t.is(map.get('ns/svc-'), undefined);
  t.is(map.get('zz'), undefined);
  t.false(map.has('aa'));
  t.deepEqual(
    [...map.keys()],
    [...map].map(([key]) => key),
  );
  const seen: number[] = [];
  map.forEach((value) => {
    seen.push(value);
  });
  t.deepEqual(seen, [...map.values()]);
});

test('everything taken away leaves an empty map that can be filled again', (t) => {
  const full = SortedMap.empty<number>().with(
    new Map(Array.from({ length: 1000 }, (_, index) => [`k${index}`, index])),
  );
  const empty = full.with(new Map([...full.keys()].map((key) => [key, undefined])));
  t.deepEqual([[...empty], empty.size], [[], 0]);
  t.deepEqual([...empty.with(new Map([['a', 1]]))], [['a', 1]]);
  t.is(full.size, 1000);
});
