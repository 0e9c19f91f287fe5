import {
  type FieldSchema,
  groupVersionOf,
  registeredKinds,
  type ScalarName,
  type StructSchema,
  schemaOf,
  type TypeSchema,
} from '../tables.ts';

/** A JSON object of an OpenAPI document. */
export type Json = Record<string, unknown>;

const referencePrefix = '#/components/schemas/';
const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const apiextensions = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1';

/** The body of any PATCH; it is no Go struct with fields. */
export const patchModel = `${meta}.Patch`;

/** Scalars that stand in place. */
const plain: Partial<Record<ScalarName, Json>> = {
  string: { type: 'string' },
  bool: { type: 'boolean' },
  int32: { type: 'integer', format: 'int32' },
  int64: { type: 'integer', format: 'int64' },
  double: { type: 'number', format: 'double' },
  bytes: { type: 'string', format: 'byte' },
  any: { type: 'object' },
};

/** Scalars that are models of their own. */
const models: Partial<Record<ScalarName, [name: string, schema: Json]>> = {
  Quantity: ['io.k8s.apimachinery.pkg.api.resource.Quantity', { oneOf: [{ type: 'string' }, { type: 'number' }] }],
  IntOrString: [
    'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
    { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] },
  ],
  Time: [`${meta}.Time`, { type: 'string', format: 'date-time' }],
  MicroTime: [`${meta}.MicroTime`, { type: 'string', format: 'date-time' }],
  Duration: [`${meta}.Duration`, { type: 'string' }],
  FieldsV1: [`${meta}.FieldsV1`, { type: 'object' }],
  RawExtension: ['io.k8s.apimachinery.pkg.runtime.RawExtension', { type: 'object' }],
  JSON: [`${apiextensions}.JSON`, {}],
  JSONSchemaPropsOrArray: [`${apiextensions}.JSONSchemaPropsOrArray`, {}],
  JSONSchemaPropsOrBool: [`${apiextensions}.JSONSchemaPropsOrBool`, {}],
  JSONSchemaPropsOrStringArray: [`${apiextensions}.JSONSchemaPropsOrStringArray`, {}],
};

/** `components.schemas`: filled with every type that is asked for, and those that it refers to. */
export interface SchemaSet {
  /** A schema object that refers to the type. */
  reference(schema: StructSchema): Json;
  /** All models so far by name, sorted. */
  models(): Json;
}

export function createSchemaSet(): SchemaSet {
  const built = new Map<string, Json>([[patchModel, { type: 'object' }]]);

  const add = (name: string, build: () => Json): string => {
    if (!built.has(name)) {
      built.set(name, {});
      built.set(name, build());
    }
    return referencePrefix + name;
  };
  const structReference = (schema: StructSchema): string => add(schema.modelName, () => structModel(schema));

  const structModel = (schema: StructSchema): Json => {
    const properties: Json = {};
    for (const name of [...schema.fields.keys()].sort()) properties[name] = property(schema.fields.get(name)!);
    const { required } = schema;
    const kinds = kindsByModel().get(schema.modelName);
    return {
      type: 'object',
      ...(schema.fields.size > 0 ? { properties } : {}),
      ...(required.length > 0 ? { required } : {}),
      ...(schema.atomic ? { 'x-kubernetes-map-type': 'atomic' } : {}),
      ...(kinds ? { 'x-kubernetes-group-version-kind': kinds } : {}),
    };
  };

  const property = (field: FieldSchema): Json => {
    const schema = valueSchema(field.type, field.pointer ? 'pointer' : field.omitEmpty ? 'omitempty' : 'value');
    if (field.default !== undefined) schema['default'] = field.default;
    if (field.listMapKeys) schema['x-kubernetes-list-map-keys'] = field.listMapKeys;
    if (field.listType) schema['x-kubernetes-list-type'] = field.listType;
    if (field.mapType) schema['x-kubernetes-map-type'] = field.mapType;
    if (field.patchMergeKey) schema['x-kubernetes-patch-merge-key'] = field.patchMergeKey;
    if (field.patchStrategies.length > 0) schema['x-kubernetes-patch-strategy'] = field.patchStrategies.join(',');
    return schema;
  };

  const valueSchema = (type: TypeSchema, use: 'pointer' | 'omitempty' | 'value'): Json => {
    switch (type.kind) {
      case 'struct':
        return { allOf: [{ $ref: structReference(type) }], ...(use === 'pointer' ? {} : { default: {} }) };
      case 'list':
        return { type: 'array', items: bareReference(valueSchema(type.element, 'value')) };
      case 'map':
        return { type: 'object', additionalProperties: bareReference(valueSchema(type.value, 'value')) };
      case 'scalar': {
        const model = models[type.scalar];
        if (model) return { allOf: [{ $ref: add(model[0], () => model[1]) }] };
        const schema: Json = { ...plain[type.scalar] };
        if (type.values) schema['enum'] = type.values;
        if (use === 'value' && zeros[type.scalar] !== undefined) schema['default'] = zeros[type.scalar];
        return schema;
      }
    }
  };

  return {
    reference: (schema) => ({ $ref: structReference(schema) }),
    models: () => Object.fromEntries([...built].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

/** `allOf` is for references that have something beside them. */
function bareReference(schema: Json): Json {
  const [reference] = (schema['allOf'] as Json[] | undefined) ?? [];
  return reference && Object.keys(schema).length === 1 ? reference : schema;
}

const zeros: Partial<Record<ScalarName, unknown>> = { string: '', bool: false, int32: 0, int64: 0, double: 0 };

let kinds: Map<string, Json[]> | undefined;

/** The group, version and kind of every registered kind, by model name. */
function kindsByModel(): Map<string, Json[]> {
  if (!kinds) {
    kinds = new Map();
    for (const { group, version, kind } of registeredKinds()) {
      const schema = schemaOf(groupVersionOf(group, version), kind);
      if (!schema) continue;
      const known = kinds.get(schema.modelName) ?? [];
      kinds.set(schema.modelName, known);
      known.push({ group, kind, version });
    }
  }
  return kinds;
}
