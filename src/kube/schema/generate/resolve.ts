import type { FieldExtras, FieldFacts, KindFacts, PackageFacts, TypeExpression, TypeFacts } from './facts.ts';
import type { GoPackage } from './go-package.ts';
import type { GoField, GoType } from './go-source.ts';

/** Go names of basic types, by the fact that they become. */
const scalars: Record<string, string> = {
  string: 'string',
  bool: 'bool',
  int: 'int64',
  int32: 'int32',
  uint32: 'int64',
  int64: 'int64',
  uint64: 'int64',
  uint8: 'int32',
  float64: 'double',
  '[]byte': 'bytes',
  'interface{}': 'any',
  any: 'any',
};

/** Types whose JSON form their own Go code makes, by import path and name. */
const specials: Record<string, string> = {
  'k8s.io/apimachinery/pkg/api/resource.Quantity': 'Quantity',
  'k8s.io/apimachinery/pkg/util/intstr.IntOrString': 'IntOrString',
  'k8s.io/apimachinery/pkg/runtime.RawExtension': 'RawExtension',
  'k8s.io/apimachinery/pkg/runtime.Object': 'RawExtension',
  'k8s.io/apimachinery/pkg/apis/meta/v1.Time': 'Time',
  'k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime': 'MicroTime',
  'k8s.io/apimachinery/pkg/apis/meta/v1.Duration': 'Duration',
  'k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1': 'FieldsV1',
  'k8s.io/apimachinery/pkg/types.UID': 'string',
  'k8s.io/apimachinery/pkg/types.NodeName': 'string',
  'encoding/json.RawMessage': 'JSON',
};

/** Types of these names in a package become specials as well. */
const specialNames = new Set([
  'JSON',
  'JSONSchemaPropsOrArray',
  'JSONSchemaPropsOrBool',
  'JSONSchemaPropsOrStringArray',
]);

/** Turns what was read into facts, one entry per package id. Throws on a type that it cannot resolve. */
export function resolvePackages(packages: readonly GoPackage[]): Map<string, PackageFacts> {
  const contexts = new Map<string, Context>();
  for (const source of packages) contexts.set(source.path, { source, contexts, types: {} });
  const kinds = new Map([...contexts.values()].map((context) => [context.source.id, resolveKinds(context)]));
  return new Map(
    [...contexts.values()].map(({ source: { id, group, version, model }, types }) => [
      id,
      { group, version, model, kinds: kinds.get(id)!, types },
    ]),
  );
}

/** Types are resolved as far as registered kinds reach them; what never goes over the wire stays out. */
function resolveKinds(context: Context): Record<string, KindFacts> {
  const { source } = context;
  const kinds: Record<string, KindFacts> = {};
  for (const registered of source.registered) {
    const type = resolveType(registered, context);
    const kind = registered.slice(registered.lastIndexOf('.') + 1);
    const client = source.types.get(kind)?.markers ?? {};
    const namespaced = client['genclient'] ? !client['genclient:nonNamespaced'] : undefined;
    kinds[kind] = { type, ...(namespaced === undefined ? {} : { namespaced }), ...source.lifecycle.get(kind) };
  }
  // The package that the others share registers few of its types, and all of them are used.
  if (source.id === 'meta/v1') {
    for (const name of source.types.keys()) if (isWireType(name, context)) resolveType(name, context);
  }
  return kinds;
}

interface Context {
  source: GoPackage;
  /** Of every package that is read, by import path. */
  contexts: ReadonlyMap<string, Context>;
  /** Filled as types are met. */
  types: Record<string, TypeFacts>;
}

const placeholder: TypeFacts = { fields: [] };

function isWireType(name: string, context: Context): boolean {
  const type = context.source.types.get(name);
  return (
    /^[A-Z]/.test(name) &&
    !specials[`${context.source.path}.${name}`] &&
    !!type?.fields?.some((field) => field.tags['json']) &&
    name !== 'Timestamp'
  );
}

/** The expression of a Go type as written in `context.source`; resolves types of that package on the way. */
function resolveType(goType: string, context: Context): TypeExpression {
  const written = goType.replace(/^\*/, '').trim();
  const scalar = scalars[written];
  if (scalar) return scalar;
  if (written.startsWith('[]')) return `[]${resolveType(written.slice(2), context)}`;
  if (written.startsWith('map[')) return `{}${resolveType(written.slice(written.indexOf(']') + 1), context)}`;
  const [alias, name] = written.includes('.') ? written.split('.', 2) : [undefined, written];
  if (alias) {
    const path = context.source.imports[alias];
    const special = specials[`${path}.${name}`];
    if (special) return special;
    const other = path && context.contexts.get(path);
    if (!other) throw new Error(`${context.source.path}: type ${written} comes from ${path}, which is not read`);
    return `${other.source.id}${resolveType(name!, other)}`;
  }
  const special = specials[`${context.source.path}.${name}`];
  if (special) return special;
  if (specialNames.has(name!)) return name!;
  const declared = context.source.types.get(name!);
  if (!declared) throw new Error(`${context.source.path}: type ${written} is not declared`);
  if (!context.types[name!]) {
    context.types[name!] = placeholder;
    context.types[name!] = typeFacts(declared, context);
  }
  return `#${name}`;
}

function typeFacts(type: GoType, context: Context): TypeFacts {
  if (type.fields) {
    const fields = type.fields.map((field) => fieldFacts(type, field, context)).filter((field) => field !== undefined);
    checkAgainstMessage(type.name, fields, context.source);
    return { fields, ...(type.markers['structType']?.[0] === 'atomic' ? { atomic: true as const } : {}) };
  }
  const is = resolveType(type.underlying!.replace(/^=\s*/, ''), context);
  const message = context.source.messages.get(type.name)?.[0]?.name === 'items';
  const closed = 'enum' in type.markers && is === 'string';
  const values = closed ? enumValues(type.name, context) : [];
  return { is, ...(closed ? { enum: values } : {}), ...(message ? { message: true as const } : {}) };
}

function enumValues(name: string, { source, contexts }: Context): string[] {
  const values = new Set<string>();
  for (const constant of source.constants) {
    if (constant.type !== name) continue;
    if (typeof constant.value === 'string') values.add(constant.value);
    else {
      const [alias, other] = constant.value.reference.split('.') as [string, string];
      const value = contexts
        .get(source.imports[alias] ?? '')
        ?.source.constants.find((item) => item.name === other)?.value;
      if (typeof value !== 'string')
        throw new Error(`${source.path}: constant ${constant.name}: ${constant.value.reference} is not a string`);
      values.add(value);
    }
  }
  if (values.size === 0) throw new Error(`${source.path}: enum ${name} has no constants`);
  return [...values].sort();
}

function fieldFacts(owner: GoType, field: GoField, context: Context): FieldFacts | undefined {
  const [jsonName = '', ...options] = (field.tags['json'] ?? '').split(',');
  if (jsonName === '-' || field.tags['json'] === undefined) return undefined;
  const inline = options.includes('inline') || (field.embedded && jsonName === '');
  const number = Number(field.tags['protobuf']?.split(',')[1] ?? 0);
  const omitEmpty = options.includes('omitempty') || options.includes('omitzero');
  const optional = omitEmpty || 'optional' in field.markers;
  const flags = `${field.type.startsWith('*') ? 'p' : ''}${optional ? 'o' : ''}${omitEmpty ? 'e' : ''}${inline ? 'i' : ''}`;
  const name = inline ? field.name : jsonName;
  const type = resolveType(field.type, context);
  const extras = fieldExtras(owner, field, context);
  return Object.keys(extras).length > 0 ? [name, type, number, flags, extras] : [name, type, number, flags];
}

function fieldExtras(owner: GoType, field: GoField, context: Context): FieldExtras {
  const { markers, tags } = field;
  const extras: FieldExtras = {};
  const listType = markers['listType']?.[0];
  if (listType === 'atomic' || listType === 'set' || listType === 'map') extras.listType = listType;
  if (markers['listMapKey']) extras.listMapKeys = markers['listMapKey'];
  if (tags['patchStrategy']) extras.patchStrategy = tags['patchStrategy'];
  if (tags['patchMergeKey']) extras.patchMergeKey = tags['patchMergeKey'];
  const mapType = markers['mapType']?.[0] ?? markers['structType']?.[0];
  if (mapType) extras.mapType = mapType;
  const written = markers['default']?.[0];
  if (written !== undefined) {
    const constant = /^ref\((\w+)\)$/.exec(written)?.[1];
    const value = constant
      ? context.source.constants.find((item) => item.name === constant)?.value
      : (JSON.parse(written) as unknown);
    if (value === undefined)
      throw new Error(`${context.source.path}: ${owner.name}.${field.name}: default ${written} is not known`);
    extras.default = value;
  }
  return extras;
}

/** The Go tags and the published protobuf message must agree on every number. */
function checkAgainstMessage(name: string, fields: readonly FieldFacts[], source: GoPackage): void {
  const message = source.messages.get(name);
  if (!message) return;
  const published = new Map(message.map((field) => [field.number, field.name]));
  for (const [field, , number, flags] of fields) {
    if (number === 0) continue;
    const wireName = published.get(number);
    const same = flags.includes('i')
      ? wireName !== undefined
      : wireName?.toLowerCase() === field.replaceAll(/[-$]/g, '').toLowerCase();
    if (!same)
      throw new Error(
        `${source.path}: ${name}.${field} has protobuf number ${number}, but generated.proto calls that ${wireName ?? 'nothing'}`,
      );
  }
}
