import { text } from 'node:stream/consumers';
import { getHeapSnapshot } from 'node:v8';

interface Snapshot {
  snapshot: { meta: { node_fields: string[]; node_types: [string[], ...unknown[]] } };
  nodes: number[];
  strings: string[];
}

/** What programs hold themselves; the rest is the engine's own, which comes and goes with what it compiles. */
const SORTS = new Set(['object', 'closure', 'string', 'concatenated string', 'sliced string', 'native', 'regexp']);

/** How many objects of each sort are alive in this process: `object Map`, `closure onAbort`, `string`. Collects garbage first. */
export async function heapHistogram(): Promise<Map<string, number>> {
  const { snapshot, nodes, strings } = JSON.parse(await text(getHeapSnapshot())) as Snapshot;
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [typeAt, nameAt] = [fields.indexOf('type'), fields.indexOf('name')];
  const counts = new Map<string, number>();
  for (let at = 0; at < nodes.length; at += fields.length) {
    const type = types[0][nodes[at + typeAt]!]!;
    if (!SORTS.has(type)) continue;
    // The engine joins and cuts strings as it likes.
    const key = type.endsWith('string') ? 'string' : `${type} ${strings[nodes[at + nameAt]!]}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}
