import { coerceObject } from '../../src/kube/schema/coerce.ts';
import { decodeObject, parsePatch } from '../../src/kube/schema/decode-object.ts';
import { strategicMerge } from '../../src/kube/schema/strategic-merge.ts';
import { schemaOf } from '../../src/kube/schema/tables.ts';
import type { SchemaPort, TypeName } from './body.ts';
import { badRequest } from './status-error.ts';

/** The generated API schema as the server uses it. */
export const kubernetesSchema: SchemaPort = {
  decode: (bytes, encoding, expected) => decodeObject(bytes, encoding, expected),
  parsePatch,
  check(object, type) {
    const { object: checked, problems } = coerceObject(object, structOf(type));
    return { object: { ...checked, apiVersion: type.apiVersion, kind: type.kind }, problems };
  },
  strategicMerge: (original, patch, type) => strategicMerge(original, patch, structOf(type)),
};

function structOf({ apiVersion, kind }: TypeName) {
  const schema = schemaOf(apiVersion, kind);
  if (!schema)
    throw badRequest(`no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)}`);
  return schema;
}
