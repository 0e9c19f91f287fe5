import { parseAllDocuments } from 'yaml';
import { coerceObject } from '../../src/kube/schema/coerce.ts';
import { type DuplicateKeys, parseJson } from '../../src/kube/schema/json-parse.ts';
import { schemaOf } from '../../src/kube/schema/tables.ts';
import { parseYaml } from '../../src/kube/schema/yaml-parse.ts';
import type { Pod } from '../../src/kube/types.ts';

/** A manifest that cannot be run; the message names the line or the field. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

/** One Pod of a manifest, or what is wrong with it. */
export interface ManifestItem {
  /** Where it stands in its text: empty for the text as a whole, else `items[2]`. */
  path: string;
  /** `<namespace>/<name>` as far as it can be told, to find its earlier version by. */
  key: string | undefined;
  /** As written, fields in their stored form; unset when `problem` is. */
  pod?: Pod;
  problem?: string;
}

/** Manifests beyond this are not read (upstream's limit). */
export const MAX_MANIFEST_BYTES = 10 << 20;

type Tree = Record<string, unknown>;

/**
 * One Pod in YAML or JSON, or (where `lists` says so) a PodList of several; read by YAML 1.1 and with the types of the API, as an API server
 * would, but strictly: a field that the API does not know is a mistake of the writer, and nobody else would tell.
 *
 * @throws ManifestError when the text as a whole cannot be used.
 */
export function parseManifest(text: string, { lists }: { lists: boolean }): ManifestItem[] {
  const { value, duplicates, problems } = parseText(text);
  if (!isTree(value)) throw new ManifestError('expected a Pod object');
  const { apiVersion, kind } = value;
  if (apiVersion !== 'v1' || !(kind === 'Pod' || (lists && kind === 'PodList')))
    throw new ManifestError(
      `expected apiVersion v1, kind Pod${lists ? ' or PodList' : ''}, found apiVersion ${apiVersion ?? '(none)'}, kind ${kind ?? '(none)'}`,
    );
  if (problems.length > 0) throw new ManifestError(problems.join('; '));
  if (kind === 'Pod') return [readItem(value, '', duplicates)];
  if (!Array.isArray(value.items ?? [])) throw new ManifestError('items: expected a list of Pods');
  return ((value.items ?? []) as unknown[]).map((item, index) => readItem(item, `items[${index}]`, duplicates));
}

function parseText(text: string): { value: unknown; duplicates: DuplicateKeys; problems: string[] } {
  if (text.trim() === '') throw new ManifestError('expected one document, found 0');
  try {
    if (/^\s*\{/.test(text)) {
      try {
        return { ...parseJson(text, { exactNumbers: true }), problems: [] };
      } catch (error) {
        // Flow style YAML begins like JSON.
        if (!text.includes('\n')) throw error;
      }
    }
    const { value, duplicates } = parseYaml(text);
    // A second document would be left out in silence.
    const count = /^---/m.test(text) ? countDocuments(text) : 1;
    if (count !== 1) throw new ManifestError(`expected one document, found ${count}`);
    return { value, duplicates: new Map(), problems: duplicates };
  } catch (error) {
    throw error instanceof ManifestError ? error : new ManifestError((error as Error).message);
  }
}

function countDocuments(text: string): number {
  const documents = parseAllDocuments(text);
  return Array.isArray(documents) ? documents.filter(({ contents }) => contents !== null).length : 0;
}

function readItem(value: unknown, path: string, duplicates: DuplicateKeys): ManifestItem {
  const key = keyOf(value);
  try {
    if (!isTree(value)) throw new ManifestError('expected a Pod object');
    for (const field of ['metadata', 'spec']) if (!isTree(value[field])) throw new ManifestError(`${field}: required`);
    const { object, problems } = coerceObject(value, schemaOf('v1', 'Pod')!, duplicates);
    if (problems.length > 0) throw new ManifestError(problems.join('; '));
    return { path, key, pod: { ...object, apiVersion: 'v1', kind: 'Pod' } as unknown as Pod };
  } catch (error) {
    return { path, key, problem: (error as Error).message };
  }
}

function keyOf(value: unknown): string | undefined {
  const metadata = isTree(value) && isTree(value.metadata) ? value.metadata : {};
  if (typeof metadata.name !== 'string' || metadata.name === '') return undefined;
  return `${typeof metadata.namespace === 'string' && metadata.namespace ? metadata.namespace : 'default'}/${metadata.name}`;
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
