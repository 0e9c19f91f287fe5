import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from './config-error.ts';
import { asMap, readConfigSource, show } from './documents.ts';
import { type ConfigOf, type Field, type FieldTree, isField } from './field.ts';
import { nearestName } from './nearest-name.ts';

/** Tells of a value that cannot be taken, and what could be. */
export type Refuse = (field: string, value: unknown, accepted: string) => void;

/** A configuration kind: its fields by upstream's names, and what must hold between them. */
export interface ConfigDefinition<Tree extends FieldTree> {
  apiVersion: string;
  kind: string;
  fields: Tree;
  /** What one field alone cannot tell. Each call of `refuse` is one line of the error. */
  validate?(config: ConfigOf<Tree>, refuse: Refuse): void;
}

/** A command line flag that stands above the file: `{ flag: '--cluster-dns', field: 'clusterDNS', value: '10.96.0.10' }`. */
export interface ConfigFlag {
  flag: string;
  /** Path of the field, by upstream's names, dots between. */
  field: string;
  /** As typed (text), or already a value of the field's own type. */
  value: unknown;
}

export { ConfigError };

interface Reader {
  problems: string[];
  warn(message: string): void;
  /** "FILE:LINE" or "flag --x" of a field's path. */
  place(path: string[]): string;
}

/**
 * Reads a configuration file, the drop-ins and the flags above it into one frozen object with every default filled in.
 * @param input.dropInDir folder of `*.conf` files, see `readConfigSource`
 * @throws ConfigError with all problems at once.
 */
export function loadConfig<Tree extends FieldTree>(
  definition: ConfigDefinition<Tree>,
  input: {
    file?: string;
    dropInDir?: string;
    flags?: readonly ConfigFlag[];
    onWarning?: (message: string) => void;
  } = {},
): ConfigOf<Tree> {
  const problems: string[] = [];
  const source = readConfigSource(definition, input);
  const flagOf = new Map<string, string>();
  const raw = structuredClone(source.raw);
  for (const { flag, field, value } of input.flags ?? []) {
    setFlag(definition.fields, raw, { flag, field, value }, problems);
    flagOf.set(field, flag);
  }
  const place = (path: string[]) => {
    const flag = flagOf.get(path.join('.'));
    if (flag) return `flag ${flag}`;
    return source.placeOf(path) ?? input.file ?? definition.kind;
  };
  const reader: Reader = { problems, place, warn: input.onWarning ?? (() => {}) };
  const config = readTree(definition.fields, definition.fields, raw, [], reader) as ConfigOf<Tree>;
  if (problems.length === 0)
    definition.validate?.(config, (field, value, accepted) => {
      problems.push(`${place(field.split('.'))}: field "${field}" is ${show(value)}; accepted: ${accepted}`);
    });
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

function setFlag(tree: FieldTree, raw: Record<string, unknown>, flag: ConfigFlag, problems: string[]): void {
  const path = flag.field.split('.');
  let node: Field | FieldTree | undefined = tree;
  let target = raw;
  for (const [index, name] of path.entries()) {
    node = node && !isField(node) ? node[name] : undefined;
    if (index === path.length - 1) break;
    target[name] = asMap(target[name]) ?? {};
    target = target[name] as Record<string, unknown>;
  }
  if (!node || !isField(node)) problems.push(`flag ${flag.flag}: there is no field "${flag.field}"`);
  else target[path.at(-1)!] = typeof flag.value === 'string' ? node.fromFlag(flag.value) : flag.value;
}

function readTree(root: FieldTree, tree: FieldTree, raw: Record<string, unknown>, path: string[], reader: Reader) {
  for (const [name, value] of Object.entries(raw))
    if (!Object.hasOwn(tree, name)) reader.problems.push(unknownField(root, tree, [...path, name], value, reader));
  const config: Record<string, unknown> = {};
  for (const [name, node] of Object.entries(tree)) {
    const here = [...path, name];
    const value = raw[name];
    if (isField(node)) config[`${name}${node.suffix}`] = readField(node, value, here, reader);
    else if (value === undefined || value === null || asMap(value))
      config[name] = readTree(root, node, asMap(value) ?? {}, here, reader);
    else reader.problems.push(wrongValue(here, value, 'a map', reader));
  }
  return Object.freeze(config);
}

function readField(field: Field, value: unknown, path: string[], reader: Reader): unknown {
  if (value === undefined || value === null || field.unset.includes(value)) return freeze(field.fallback);
  if (field.support === 'ignored') return freeze(value);
  const parsed = field.schema.safeParse(value);
  if (!parsed.success) {
    reader.problems.push(wrongValue(path, value, field.accepts, reader));
    return undefined;
  }
  if (!isDefault(field, parsed.data)) {
    const what = `${reader.place(path)}: field "${path.join('.')}" is ${show(value)}`;
    if (field.support === 'unsupported')
      reader.problems.push(`${what}; it is not supported yet: leave it out, or at its default ${show(field.fallback)}`);
    if (field.support === 'deferred') reader.warn(`${what}; it has no effect yet`);
  }
  return freeze(parsed.data);
}

function isDefault(field: Field, value: unknown): boolean {
  return isDeepStrictEqual(value, field.fallback) || (isBlank(field.fallback) && isBlank(value));
}

/** null, "", 0, false, and maps and lists of nothing else: what Go writes for a value that nobody has set. */
function isBlank(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === '0' || value === false)
    return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === 'object' && Object.values(value).every(isBlank);
}

function unknownField(root: FieldTree, tree: FieldTree, path: string[], value: unknown, reader: Reader): string {
  const name = path.at(-1)!;
  const above = path.slice(0, -1);
  const sibling = nearestName(name, Object.keys(tree));
  const elsewhere = allPaths(root).find((one) => one.split('.').at(-1) === name);
  const meant = elsewhere ?? (sibling && [...above, sibling].join('.'));
  return `${reader.place(path)}: unknown field "${path.join('.')}" (value ${show(value)})${meant ? `; did you mean "${meant}"?` : ''}`;
}

function allPaths(tree: FieldTree, above = ''): string[] {
  return Object.entries(tree).flatMap(([name, node]) =>
    isField(node) ? [above + name] : [above + name, ...allPaths(node, `${above}${name}.`)],
  );
}

function wrongValue(path: string[], value: unknown, accepted: string, reader: Reader): string {
  return `${reader.place(path)}: field "${path.join('.')}" is ${show(value)}; accepted: ${accepted}`;
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freeze(inner);
  }
  return value;
}
