import { groupVersionOf } from '../tables.ts';
import type { OpenApiResource } from './paths.ts';

/**
 * The OpenAPI v2 document as protobuf (gnostic's openapi.v2.Document), with as much in it as clients still ask it for: kubectl looks
 * there whether the server validates fields itself, for kinds that no v3 document names — `kind: List` above all, which it takes for a
 * Namespace. So every kind that can be patched stands there with that operation and its fieldValidation parameter; types are v3's.
 */
export function openApiV2Document(resources: readonly OpenApiResource[]): Uint8Array {
  const paths = resources.filter(({ verbs }) => verbs.includes('patch')).map(pathItem);
  return bytes(
    text(1, '2.0'),
    message(2, text(1, 'Kubernetes'), text(2, 'v1.36.0')),
    message(8, ...paths.map((item) => message(2, item))),
  );
}

function pathItem({ group, version, kind, plural, namespaced }: OpenApiResource): Uint8Array {
  const root = `/${group === '' ? 'api' : 'apis'}/${groupVersionOf(group, version)}`;
  const path = `${root}${namespaced ? '/namespaces/{namespace}' : ''}/${plural}/{name}`;
  const fieldValidation = message(3, text(2, 'query'), text(4, 'fieldValidation'), text(6, 'string'));
  const parameter = message(8, message(1, message(2, fieldValidation)));
  const kindExtension = message(
    13,
    text(1, 'x-kubernetes-group-version-kind'),
    message(2, text(2, JSON.stringify({ group, version, kind }))),
  );
  const patch = message(8, parameter, kindExtension);
  return bytes(text(1, path), message(2, patch));
}

/** A length-delimited field: a nested message of these encoded fields. */
function message(field: number, ...content: Uint8Array[]): Uint8Array {
  const body = bytes(...content);
  return bytes(varint((field << 3) | 2), varint(body.length), body);
}

function text(field: number, value: string): Uint8Array {
  return message(field, Buffer.from(value));
}

function varint(value: number): Uint8Array {
  const digits: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return Uint8Array.from([...digits, rest]);
    digits.push((rest & 0x7f) | 0x80);
  }
}

function bytes(...parts: Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}
