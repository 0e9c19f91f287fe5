import type { FieldFacts, KindFacts, PackageFacts, SchemaFacts, TypeFacts } from './generate/facts.ts';
import facts from './generated/tables.json' with { type: 'json' };

/** Types without fields of their own: Go's basic types, and those whose JSON form their own Go code makes. */
export type ScalarName =
  | 'string'
  | 'bool'
  | 'int32'
  | 'int64'
  | 'double'
  | 'bytes'
  | 'any'
  | 'Quantity'
  | 'IntOrString'
  | 'Time'
  | 'MicroTime'
  | 'Duration'
  | 'FieldsV1'
  | 'RawExtension'
  | 'JSON'
  | 'JSONSchemaPropsOrArray'
  | 'JSONSchemaPropsOrBool'
  | 'JSONSchemaPropsOrStringArray';

export interface ScalarSchema {
  readonly kind: 'scalar';
  readonly scalar: ScalarName;
  /** Go's name of the type, for messages: `string`, `v1.Protocol`. */
  readonly goName: string;
  /** All values that the type allows; absent where it is open. */
  readonly values?: readonly string[];
}

export interface ListSchema {
  readonly kind: 'list';
  readonly element: TypeSchema;
  /** On the protobuf wire a message with the list in field 1 (`ExtraValue`, `Verbs`). */
  readonly wrapped: boolean;
  readonly goName: string;
}

export interface MapSchema {
  readonly kind: 'map';
  readonly value: TypeSchema;
  readonly goName: string;
}

/** Any Kubernetes wire type. */
export type TypeSchema = ScalarSchema | ListSchema | MapSchema | StructSchema;

/** How lists and maps merge: by server-side apply (`listType`, `mapType`) and by strategic merge patch. */
export interface FieldSchema {
  readonly name: string;
  readonly type: TypeSchema;
  /** Protobuf field number; 0: not on the protobuf wire. */
  readonly number: number;
  /** A Go pointer: `0`, `false` and `""` are values there; elsewhere they mean unset. */
  readonly pointer: boolean;
  /** Not required by the published OpenAPI: `omitempty` or `+optional`. */
  readonly optional: boolean;
  /** Left out of Go's JSON when empty. */
  readonly omitEmpty: boolean;
  readonly inline: boolean;
  readonly listType?: 'atomic' | 'set' | 'map';
  readonly listMapKeys?: readonly string[];
  readonly patchStrategies: readonly string[];
  readonly patchMergeKey?: string;
  readonly default?: unknown;
  readonly mapType?: string;
}

/** A Go struct. Fields are built when first asked for: types may contain themselves, and most are never used. */
export class StructSchema {
  readonly kind = 'struct';
  /** `core/v1#PodSpec`. */
  readonly id: string;
  /** `PodSpec`. */
  readonly name: string;
  /** `io.k8s.api.core.v1.PodSpec`, its name in OpenAPI documents. */
  readonly modelName: string;
  readonly goName: string;
  /** Server-side apply treats the whole struct as one value. */
  readonly atomic: boolean;
  readonly #rows: readonly FieldFacts[];
  #wire: ReadonlyMap<number, FieldSchema> | undefined;
  #fields: ReadonlyMap<string, FieldSchema> | undefined;

  constructor(packageId: string, name: string, model: string, type: Extract<TypeFacts, { fields: unknown }>) {
    this.id = `${packageId}#${name}`;
    this.name = name;
    this.modelName = `${model}.${name}`;
    this.goName = `${packageId.slice(packageId.indexOf('/') + 1)}.${name}`;
    this.atomic = type.atomic === true;
    this.#rows = type.fields;
  }

  /** Fields of the JSON object by name, those of inline structs included. */
  get fields(): ReadonlyMap<string, FieldSchema> {
    if (!this.#fields) {
      const fields = new Map<string, FieldSchema>();
      for (const field of this.#build()) {
        if (!field.inline) fields.set(field.name, field);
        else if (field.type.kind === 'struct')
          for (const inner of field.type.fields.values()) fields.set(inner.name, inner);
      }
      this.#fields = fields;
    }
    return this.#fields;
  }

  /** Fields of the protobuf message by number; an inline struct is one field. */
  get wire(): ReadonlyMap<number, FieldSchema> {
    this.#wire ??= new Map(
      this.#build()
        .filter((field) => field.number > 0)
        .map((field) => [field.number, field]),
    );
    return this.#wire;
  }

  /** Names that a valid object must have, by the published OpenAPI. */
  get required(): string[] {
    return [...this.fields.values()].filter((field) => !field.optional).map((field) => field.name);
  }

  #build(): FieldSchema[] {
    const packageId = this.id.slice(0, this.id.indexOf('#'));
    return this.#rows.map(([name, type, number, flags, extras]) => ({
      name,
      type: resolveType(type, packageId),
      number,
      pointer: flags.includes('p'),
      optional: flags.includes('o'),
      omitEmpty: flags.includes('e'),
      inline: flags.includes('i'),
      ...extras,
      patchStrategies: extras?.patchStrategy?.split(',') ?? [],
    }));
  }
}

/** A kind that the API registers. */
export interface RegisteredKind extends Omit<KindFacts, 'type'> {
  group: string;
  version: string;
  kind: string;
}

const tables = facts as unknown as SchemaFacts;
const goScalarNames: Partial<Record<ScalarName, string>> = {
  double: 'float64',
  bytes: '[]uint8',
  any: 'interface {}',
  Quantity: 'resource.Quantity',
  IntOrString: 'intstr.IntOrString',
  Time: 'v1.Time',
  MicroTime: 'v1.MicroTime',
  Duration: 'v1.Duration',
  FieldsV1: 'v1.FieldsV1',
  RawExtension: 'runtime.RawExtension',
};
const resolved = new Map<string, TypeSchema>();
const packagesByGroupVersion = new Map<string, [id: string, facts: PackageFacts]>(
  Object.entries(tables.packages).map(([id, item]) => [groupVersionOf(item.group, item.version), [id, item]]),
);

/** Versions of the sources that the tables were generated from, by Debian package. */
export const schemaSources: Readonly<Record<string, string>> = tables.sources;

/**
 * The schema of a kind, e.g. `schemaOf('apps/v1', 'Deployment')`; undefined when the API has no such kind.
 */
export function schemaOf(apiVersion: string, kind: string): StructSchema | undefined {
  const [id, item] = packagesByGroupVersion.get(apiVersion) ?? [];
  const type = item?.kinds[kind]?.type;
  if (!id || type === undefined) return undefined;
  const schema = resolveType(type, id);
  return schema.kind === 'struct' ? schema : undefined;
}

/** The schema of a named type, e.g. `structSchema('core/v1', 'PodSpec')`. Throws on a name that the API lacks. */
export function structSchema(packageId: string, name: string): StructSchema {
  const schema = resolveType(`#${name}`, packageId);
  if (schema.kind !== 'struct') throw new Error(`Kubernetes type ${packageId}#${name} is not a struct`);
  return schema;
}

/** Every kind of every group and version that the tables hold, sorted by group, version, kind. */
export function registeredKinds(): RegisteredKind[] {
  return [...packagesByGroupVersion.values()]
    .flatMap(([, { group, version, kinds }]) =>
      Object.entries(kinds).map(([kind, { type: _, ...rest }]) => ({ group, version, kind, ...rest })),
    )
    .sort((a, b) => (`${a.group}/${a.version}/${a.kind}` < `${b.group}/${b.version}/${b.kind}` ? -1 : 1));
}

/** `v1` for the core group, else `group/version`. */
export function groupVersionOf(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}

function resolveType(expression: string, packageId: string): TypeSchema {
  const key = expression.includes('#') ? `${packageId} ${expression}` : expression;
  let schema = resolved.get(key);
  if (!schema) {
    schema = buildType(expression, packageId);
    resolved.set(key, schema);
  }
  return schema;
}

function buildType(expression: string, packageId: string): TypeSchema {
  if (expression.startsWith('[]')) {
    const element = resolveType(expression.slice(2), packageId);
    return { kind: 'list', element, wrapped: false, goName: `[]${element.goName}` };
  }
  if (expression.startsWith('{}')) {
    const value = resolveType(expression.slice(2), packageId);
    return { kind: 'map', value, goName: `map[string]${value.goName}` };
  }
  const separator = expression.indexOf('#');
  if (separator < 0) {
    const scalar = expression as ScalarName;
    return { kind: 'scalar', scalar, goName: goScalarNames[scalar] ?? scalar };
  }
  const name = expression.slice(separator + 1);
  if (separator > 0 && expression.slice(0, separator) !== packageId) {
    return resolveType(`#${name}`, expression.slice(0, separator));
  }
  const item = tables.packages[packageId];
  const type = item?.types[name];
  if (!item || !type) throw new Error(`Kubernetes type ${packageId}#${name} is not in the schema tables`);
  if ('fields' in type) return new StructSchema(packageId, name, item.model, type);
  const underlying = resolveType(type.is, packageId);
  const goName = `${item.version}.${name}`;
  if (underlying.kind === 'scalar') return { ...underlying, goName, ...(type.enum ? { values: type.enum } : {}) };
  if (underlying.kind === 'list') return { ...underlying, goName, wrapped: type.message === true };
  return underlying.kind === 'map' ? { ...underlying, goName } : underlying;
}
