/** The shapes that the generator writes and that `src/kube/schema` loads. */

/**
 * A type expression: `[]` and `{}` (map by string) prefixes before a scalar (`string bool int32 int64 double bytes`),
 * a special (`any Quantity IntOrString Time MicroTime Duration FieldsV1 RawExtension JSON JSONSchemaPropsOrArray
 * JSONSchemaPropsOrBool JSONSchemaPropsOrStringArray`), a type of the same package (`#Name`) or of another (`core/v1#Name`).
 */
export type TypeExpression = string;

/**
 * `p` Go pointer: explicit zero values count; `o` optional (omitempty or +optional); `e` omitempty;
 * `i` inline: the JSON fields of the type stand in the parent, the protobuf message is nested all the same.
 */
export type FieldFlags = string;

/** What few fields have: list type and keys, patch strategy and merge key, default, atomic map or struct. */
export interface FieldExtras {
  listType?: 'atomic' | 'set' | 'map';
  listMapKeys?: string[];
  patchStrategy?: string;
  patchMergeKey?: string;
  default?: unknown;
  mapType?: string;
}

/** JSON name, type, protobuf field number (0: not on the protobuf wire), flags, extras. */
export type FieldFacts = [name: string, type: TypeExpression, number: number, flags: FieldFlags, extras?: FieldExtras];

export type TypeFacts =
  | { fields: FieldFacts[]; atomic?: true }
  /** A named string, list or map. `message`: on the protobuf wire it is a message with `items = 1`. */
  | { is: TypeExpression; enum?: string[]; message?: true };

export interface KindFacts {
  type: TypeExpression;
  /** Absent for kinds that have no collection of their own. */
  namespaced?: boolean;
  introduced?: string;
  deprecated?: string;
  removed?: string;
  replacement?: string;
}

/** One Go package = one group and version. */
export interface PackageFacts {
  group: string;
  version: string;
  /** Prefix of its OpenAPI model names, e.g. `io.k8s.api.core.v1`. */
  model: string;
  kinds: Record<string, KindFacts>;
  types: Record<string, TypeFacts>;
}

/** The whole of tables.json; `packages` by id (`core/v1`), `sources` the Debian packages' versions. */
export interface SchemaFacts {
  sources: Record<string, string>;
  packages: Record<string, PackageFacts>;
}
