import { isAlias, isMap, isScalar, isSeq, LineCounter, type Pair, parseAllDocuments, type YAMLMap } from 'yaml';
import { DecodeError } from './decode-error.ts';
import { ExactNumber } from './json-parse.ts';

export interface ParsedYaml {
  value: unknown;
  /** Keys given twice, in the words of Go's YAML library: `line 3: key "a" already set in map`. */
  duplicates: string[];
}

const maxAliasedNodes = 100_000;
/** YAML 1.1's tags that Go's library does not read from plain text. */
const foreignTags = new Set([
  'tag:yaml.org,2002:timestamp',
  'tag:yaml.org,2002:omap',
  'tag:yaml.org,2002:set',
  'tag:yaml.org,2002:pairs',
]);

/**
 * Parses the first YAML document of a text into what JSON could hold, by YAML 1.1 as Kubernetes does (`yes` is true, `0644`
 * is octal, times are text).
 *
 * @throws DecodeError on what is no YAML or has no JSON form.
 */
export function parseYaml(text: string): ParsedYaml {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, {
    version: '1.1',
    uniqueKeys: false,
    merge: true,
    lineCounter: lines,
    prettyErrors: false,
    customTags: (tags) =>
      tags.filter(
        (tag) => typeof tag === 'string' || !(foreignTags.has(tag.tag) || ('format' in tag && tag.format === 'TIME')),
      ),
  });
  const document = Array.isArray(documents) ? documents[0] : undefined;
  if (!document) return { value: null, duplicates: [] };
  const [error] = document.errors;
  if (error)
    throw new DecodeError(
      `error converting YAML to JSON: yaml: line ${lines.linePos(error.pos[0]).line}: ${error.message}`,
    );
  const duplicates: string[] = [];
  let aliased = 0;

  const convert = (node: unknown, insideAlias: boolean): unknown => {
    if (insideAlias && ++aliased > maxAliasedNodes)
      throw new DecodeError('error converting YAML to JSON: yaml: document contains excessive aliasing');
    if (isAlias(node)) return convert(node.resolve(document), true);
    if (isMap(node)) return convertMap(node, insideAlias);
    if (isSeq(node)) return node.items.map((item) => convert(item, insideAlias));
    if (!isScalar(node)) return null;
    const { value, source } = node;
    if (typeof value === 'number') {
      if (!Number.isFinite(value))
        throw new DecodeError(`error converting YAML to JSON: json: unsupported value: ${source}`);
      const exact = !Number.isInteger(value) || Number.isSafeInteger(value) || !/^-?\d+$/.test(source ?? '');
      return exact ? value : new ExactNumber(source!);
    }
    return value instanceof Uint8Array ? Buffer.from(value).toString('utf8') : value;
  };

  const convertMap = (map: YAMLMap, insideAlias: boolean): Record<string, unknown> => {
    const object: Record<string, unknown> = {};
    const merged: Record<string, unknown> = {};
    for (const pair of map.items as Pair[]) {
      const key = keyText(pair.key);
      const value = convert(pair.value, insideAlias);
      if (isMergeKey(pair.key)) {
        for (const source of Array.isArray(value) ? value.toReversed() : [value]) Object.assign(merged, source);
        continue;
      }
      if (Object.hasOwn(object, key)) {
        const range = isScalar(pair.key) ? pair.key.range : undefined;
        const line = lines.linePos(range?.[0] ?? 0).line;
        if (!insideAlias) duplicates.push(`line ${line}: key ${JSON.stringify(key)} already set in map`);
      }
      Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    }
    return Object.keys(merged).length > 0 ? { ...merged, ...object } : object;
  };

  return { value: convert(document.contents, false), duplicates };
}

function isMergeKey(key: unknown): boolean {
  return isScalar(key) && key.value !== '<<' ? typeof key.value === 'symbol' : isScalar(key) && key.type === 'PLAIN';
}

function keyText(key: unknown): string {
  if (!isScalar(key)) throw new DecodeError('error converting YAML to JSON: yaml: a map key is not a scalar');
  return typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
}
