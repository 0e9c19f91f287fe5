import { applyPatch, type Operation } from 'rfc6902';
import { mergePatch } from '../../../src/kube/schema/merge-patch.ts';
import type { KubeObject } from '../../../src/kube/types.ts';
import { type Decoded, expectType, type FieldValidation, fieldValidation, type SchemaPort } from '../body.ts';
import { BODY_LIMIT_BYTES, type Exchange } from '../exchange.ts';
import { invalid } from '../field-error.ts';
import { parseMediaType } from '../media-type.ts';
import { apiVersionOf } from '../registry.ts';
import { badRequest, invalidObject, StatusError, tooLarge, unsupportedMediaType } from '../status-error.ts';

type Json = Record<string, unknown>;

/** The kind that the patch is applied to; a `ResourceDefinition` is one. */
type PatchedType = { readonly group: string; readonly version: string; readonly kind: string };

/** A patch that was read and understood; applying it is pure. */
export interface Patch<T extends KubeObject> {
  /** `current` is the JSON of the object with kind, apiVersion and resourceVersion; it may be changed. */
  apply(current: object): T;
  /** True when the patch names a resourceVersion: then a conflict is the client's to solve. */
  readonly insists: boolean;
}

const PATCH_TYPES = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
} as const;
const OPERATIONS_LIMIT = 10_000;

/** Reads a PATCH body. Throws 415 for other content types; server-side apply is refused by name. */
export async function readPatch<T extends KubeObject>(
  exchange: Exchange,
  schema: SchemaPort,
  of: PatchedType,
  timeoutMs: number,
): Promise<Patch<T>> {
  const { type } = parseMediaType(exchange.header('content-type') ?? '');
  if (type.startsWith('application/apply-patch'))
    throw unsupportedMediaType(
      `server-side apply (${type}) is not supported by this server; use client-side apply (kubectl apply without --server-side)`,
    );
  const supported: readonly string[] = Object.values(PATCH_TYPES);
  if (!supported.includes(type))
    throw unsupportedMediaType(
      `the body of the request was in an unknown format - accepted media types include: ${supported.join(', ')}`,
    );
  const validation = fieldValidation(exchange.query);
  const text = (await exchange.readBody(timeoutMs)).toString();
  const { patch, problems } = parseBody(schema, text);
  const prepare = (body: unknown) => (type === PATCH_TYPES.json ? jsonPatch(body) : mergeBy(of, schema, type, body));
  // Refused before the object is looked at.
  let merged: ((object: Json) => Json) | undefined = prepare(patch);
  return {
    insists: isObject(patch) && isObject(patch.metadata) && typeof patch.metadata.resourceVersion === 'string',
    apply(current) {
      // The result may share values with the patch and is completed in place: every try needs a patch of its own.
      const merge = merged ?? prepare(parseBody(schema, text).patch);
      merged = undefined;
      const checked = checkResult(schema, of, merge(current as Json));
      judge(exchange, [...problems, ...checked.problems], validation, text);
      return checked.object as unknown as T;
    },
  };
}

function parseBody(schema: SchemaPort, text: string) {
  try {
    return schema.parsePatch(text);
  } catch (error) {
    throw badRequest(`error decoding patch: ${(error as Error).message}`);
  }
}

/** RFC 6902. A failed test or a path that leads nowhere is 422. */
function jsonPatch(body: unknown): (object: Json) => Json {
  if (!Array.isArray(body)) throw badRequest('error decoding patch: a JSON patch is an array of operations');
  if (body.length > OPERATIONS_LIMIT)
    throw tooLarge(`The allowed maximum operations in a JSON patch is ${OPERATIONS_LIMIT}, got ${body.length}`);
  return (object) => {
    // One operation at a time: what a run of copies makes of a small body is bounded.
    for (const operation of body as Operation[]) {
      const [problem] = applyPatch(object, [operation]);
      if (problem)
        throw new StatusError(
          422,
          'Invalid',
          `the server rejected our request due to an error in our request: ${describe(operation, problem)}`,
          {},
        );
      if (operation.op === 'copy' && JSON.stringify(object).length > BODY_LIMIT_BYTES)
        throw tooLarge(`the patched object would be larger than ${BODY_LIMIT_BYTES} bytes`);
    }
    return object;
  };
}

function describe(operation: Operation, problem: Error): string {
  const { op, path } = operation ?? {};
  return `operation ${JSON.stringify(op)} at ${JSON.stringify(path)}: ${problem.name}${problem.message ? `: ${problem.message}` : ''}`;
}

function mergeBy(of: PatchedType, schema: SchemaPort, type: string, body: unknown): (object: Json) => Json {
  if (!isObject(body)) throw badRequest('error decoding patch: the patch must be a JSON object');
  if (type === PATCH_TYPES.merge) return (object) => mergePatch(object, body) as Json;
  const typeName = { apiVersion: apiVersionOf(of), kind: of.kind };
  return (object) => {
    try {
      return schema.strategicMerge(object, body, typeName);
    } catch (error) {
      if (error instanceof StatusError) throw error;
      throw badRequest((error as Error).message);
    }
  };
}

/** The patched object must be one of its kind, as a body must. */
function checkResult(schema: SchemaPort, of: PatchedType, object: Json): Decoded {
  const typeName = { apiVersion: apiVersionOf(of), kind: of.kind };
  if (!isObject(object)) throw badRequest('the patch does not leave an object');
  if (!isObject(object.metadata)) object.metadata = {};
  expectType(object as unknown as KubeObject, typeName);
  try {
    return schema.check(object, typeName);
  } catch (error) {
    if (error instanceof StatusError) throw error;
    throw badRequest((error as Error).message);
  }
}

function judge(exchange: Exchange, problems: readonly string[], validation: FieldValidation, patch: string): void {
  if (problems.length === 0 || validation === 'Ignore') return;
  if (validation === 'Strict')
    throw invalidObject({ group: '', plural: '', kind: '' }, '', [
      invalid('patch', patch, `strict decoding error: ${problems.join(', ')}`),
    ]);
  for (const problem of problems) exchange.warn(problem);
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
