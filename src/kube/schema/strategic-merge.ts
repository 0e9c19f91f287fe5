import { type Identify, orderElements } from './element-order.ts';
import type { FieldSchema, StructSchema, TypeSchema } from './tables.ts';

/** A strategic merge patch that breaks the rules of its directives: answer 400 BadRequest. */
export class PatchError extends Error {
  override readonly name = 'PatchError';
}

type Fields = Record<string, unknown>;

const directive = '$patch';
const retainKeys = '$retainKeys';
const orderPrefix = '$setElementOrder/';
const deletePrefix = '$deleteFromPrimitiveList/';

/**
 * Applies a strategic merge patch: maps merge by key and null deletes; a list merges by its merge key, or as a set of scalars,
 * where the type says so, and is replaced elsewhere. Directives: `$patch: replace|delete` in maps and list elements,
 * `$retainKeys`, `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`.
 *
 * @param original a JSON object of the type, not changed.
 * @returns a new object. It can hold values of the wrong type and unknown fields if the patch has them: check it.
 * @throws PatchError when a directive is used wrongly or a list element lacks its merge key.
 */
export function strategicMerge(original: Fields, patch: Fields, schema: StructSchema): Fields {
  return mergeMap(structuredClone(original), structuredClone(patch), schema);
}

function mergeMap(original: Fields, patch: Fields, schema: TypeSchema | undefined): Fields {
  const action = patch[directive];
  if (action === 'replace') {
    delete patch[directive];
    return patch;
  }
  if (action === 'delete') return {};
  if (action !== undefined)
    throw new PatchError(`unknown patch type: ${JSON.stringify(action)} in map: ${JSON.stringify(patch)}`);

  applyRetainKeys(original, patch);
  mergeOrderedLists(original, patch, schema);
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith(deletePrefix)) deleteScalars(original, key, value);
    else if (value === null) delete original[key];
    else mergeKey(original, key, value, schema);
  }
  return original;
}

function mergeKey(original: Fields, key: string, value: unknown, schema: TypeSchema | undefined): void {
  const present = Object.hasOwn(original, key) ? original[key] : undefined;
  const field = fieldOf(schema, key);
  let merged: unknown;
  if (isFields(present) && isFields(value)) {
    merged = field?.patchStrategies.includes('replace') ? value : mergeMap(present, value, field?.type);
  } else if (Array.isArray(present) && Array.isArray(value)) {
    merged = field?.patchStrategies.includes('merge') ? mergeList(present, value, field) : value;
  } else merged = withoutDirectives(value);
  if (merged === undefined) delete original[key];
  else Object.defineProperty(original, key, { value: merged, writable: true, enumerable: true, configurable: true });
}

/** `$retainKeys: [...]` in a patch: all other keys of the original go. */
function applyRetainKeys(original: Fields, patch: Fields): void {
  const retained = patch[retainKeys];
  if (retained === undefined) return;
  delete patch[retainKeys];
  if (!Array.isArray(retained)) throw new PatchError(`invalid patch format of ${retainKeys}: not a list`);
  const keep = new Set<unknown>(retained);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null || key.startsWith(deletePrefix) || key.startsWith(orderPrefix) || keep.has(key)) continue;
    throw new PatchError(
      `invalid patch format of ${retainKeys}: ${JSON.stringify(key)} is in the patch, but not to be retained`,
    );
  }
  for (const key of Object.keys(original)) if (!keep.has(key)) delete original[key];
}

/** Handles each `$setElementOrder/LIST` together with the LIST of the patch; both are taken out of the patch. */
function mergeOrderedLists(original: Fields, patch: Fields, schema: TypeSchema | undefined): void {
  for (const [key, order] of Object.entries(patch)) {
    if (!key.startsWith(orderPrefix)) continue;
    delete patch[key];
    const name = key.slice(orderPrefix.length);
    const field = fieldOf(schema, name);
    if (!field) throw new PatchError(`unable to find api field for the json field ${JSON.stringify(name)} of ${key}`);
    if (!Array.isArray(order))
      throw new PatchError(`invalid patch format of ${orderPrefix} list: ${key} is not a list`);
    const present = listOf(original, name);
    const patched = listOf(patch, name);
    const identify = identifier(field, [...(present ?? []), ...(patched ?? []), ...order]);
    if (patched) checkOrder(patched, order, identify);
    delete patch[name];
    if (!present && !patched) continue;
    const merged =
      present && patched && field.patchStrategies.includes('merge')
        ? mergeList(present, patched, field)
        : patched
          ? (withoutDirectives(patched) as unknown[])
          : present!;
    original[name] = orderElements(merged, order, present ?? [], identify);
  }
}

/** The patch's own elements must stand in the order that it asks for. */
function checkOrder(patched: readonly unknown[], order: readonly unknown[], identify: Identify): void {
  if (order.length === 0) return;
  const places = order.map(identify);
  let place = 0;
  for (const element of patched) {
    if (isFields(element) && directive in element) continue;
    place = places.indexOf(identify(element), place) + 1;
    if (place === 0) {
      throw new PatchError(
        `The order in patch list: ${JSON.stringify(patched)} doesn't match ${orderPrefix} list: ${JSON.stringify(order)}`,
      );
    }
  }
}

function mergeList(present: unknown[], patched: unknown[], field: FieldSchema): unknown[] {
  if (present.length === 0 && patched.length === 0) return present;
  const identify = identifier(field, [...present, ...patched]);
  if (!isFields(patched[0] ?? present[0])) {
    return orderElements([...new Set([...present, ...patched])], patched, present, identify);
  }
  const { kept, changes } = applyElementDirectives(present, patched as Fields[], identify);
  const element = field.type.kind === 'list' ? field.type.element : undefined;
  const merged = [...kept];
  for (const change of changes) {
    const index = merged.findIndex((item) => identify(item) === identify(change));
    if (index < 0) merged.push(withoutDirectives(change, 'keep replacements'));
    else merged[index] = mergeMap(merged[index] as Fields, change, element);
  }
  return orderElements(merged, changes, kept, identify);
}

/** Elements with `$patch`: delete takes those with the same merge key out; replace makes the patch's others the whole list. */
function applyElementDirectives(
  present: unknown[],
  patched: Fields[],
  identify: Identify,
): { kept: unknown[]; changes: Fields[] } {
  const changes = patched.filter((element) => !(directive in element));
  if (changes.length === patched.length) return { kept: present, changes };
  let kept = present;
  let replace = false;
  for (const element of patched) {
    const action = element[directive];
    if (action === 'delete') kept = kept.filter((item) => identify(item) !== identify(element));
    else if (action === 'replace') replace = true;
    else if (action === 'merge') throw new PatchError('merging lists cannot yet be specified in the patch');
    else if (action !== undefined)
      throw new PatchError(`unknown patch type: ${JSON.stringify(action)} in map: ${JSON.stringify(element)}`);
  }
  return replace ? { kept: changes, changes: [] } : { kept, changes };
}

function deleteScalars(original: Fields, key: string, values: unknown): void {
  if (!Array.isArray(values)) throw new PatchError(`invalid patch format of primitive list: ${key} is not a list`);
  const name = key.slice(deletePrefix.length);
  const present = original[name];
  if (!Array.isArray(present)) return;
  const gone = new Set<unknown>(values);
  original[name] = present.filter((value) => !gone.has(value));
}

/** How elements of a merging list are told apart; throws on what the list may not hold. */
function identifier(field: FieldSchema, elements: readonly unknown[]): Identify {
  const objects = elements.filter(isFields).length;
  if (elements.some(Array.isArray)) throw new PatchError('merging lists of lists is not supported');
  if (objects > 0 && objects < elements.length)
    throw new PatchError(`list element types are not identical: ${JSON.stringify(elements)}`);
  if (objects === 0) return (element) => element;
  const { patchMergeKey } = field;
  if (patchMergeKey === undefined) throw new PatchError(`cannot merge lists without merge key for ${field.name}`);
  for (const element of elements as Fields[]) {
    if (element[patchMergeKey] !== undefined || element[directive] === 'replace') continue;
    throw new PatchError(`map: ${JSON.stringify(element)} does not contain declared merge key: ${patchMergeKey}`);
  }
  return (element) => (element as Fields)[patchMergeKey];
}

/**
 * A value that the original lacks, without directives and nulls; undefined when nothing of it is to be there. As upstream, a map
 * with `$patch: replace` counts in a new list element only.
 */
function withoutDirectives(value: unknown, mode?: 'keep replacements'): unknown {
  if (Array.isArray(value)) {
    return value.map((item) => withoutDirectives(item, mode)).filter((item) => item !== undefined);
  }
  if (!isFields(value)) return value;
  if (directive in value && (mode === undefined || value[directive] !== 'replace')) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const kept = item === null || isDirective(key) ? undefined : withoutDirectives(item, mode);
    if (kept === undefined) delete value[key];
    else if (kept !== item) value[key] = kept;
  }
  return value;
}

function isDirective(key: string): boolean {
  return key === directive || key === retainKeys || key.startsWith(orderPrefix) || key.startsWith(deletePrefix);
}

function fieldOf(schema: TypeSchema | undefined, key: string): FieldSchema | undefined {
  if (schema?.kind === 'struct') return schema.fields.get(key);
  if (schema?.kind !== 'map') return undefined;
  return {
    name: key,
    type: schema.value,
    number: 0,
    pointer: false,
    optional: true,
    omitEmpty: false,
    inline: false,
    patchStrategies: [],
  };
}

function listOf(object: Fields, name: string): unknown[] | undefined {
  const value = object[name];
  if (value === undefined || Array.isArray(value)) return value;
  throw new PatchError(`${name} is not a list: ${JSON.stringify(value)}`);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
