/**
 * Reads the part of Go that Kubernetes' `types.go` and `register.go` files are written in: gofmt'ed
 * declarations, one field a line, with struct tags and `+marker` comments. Not a Go parser.
 */

/** One struct member as written; nothing is resolved yet. */
export interface GoField {
  /** Go name; the type's base name for an embedded field. */
  name: string;
  /** Go type as written, e.g. `*metav1.Time`, `[]string`, `map[string]string`. */
  type: string;
  embedded: boolean;
  /** Struct tag by key (`json`, `protobuf`, `patchStrategy`, `patchMergeKey`). */
  tags: Record<string, string>;
  markers: GoMarkers;
}

/** `+key=value` and `+key` comments, each with all its values in order. */
export type GoMarkers = Record<string, string[]>;

/** A `type` declaration: a struct with fields, or another name for `underlying`. */
export interface GoType {
  name: string;
  fields?: GoField[];
  underlying?: string;
  markers: GoMarkers;
}

/** A typed string constant: `PodRunning PodPhase = "Running"`, or one that stands for another package's. */
export interface GoConstant {
  name: string;
  type: string;
  /** The string, or `alias.Name` of the constant that holds it. */
  value: string | { reference: string };
}

export interface GoFile {
  /** Import path by the name that the file uses for it. */
  imports: Record<string, string>;
  types: GoType[];
  constants: GoConstant[];
}

const importLine = /^(?:import\s+)?(?:([A-Za-z0-9_.]+)\s+)?"([^"]+)"$/;
/** `Name Type = "value"`, `Name = Type("value")`, and both with `alias.Name` for the value. */
const constantLine = /^(?:const\s+)?(\w+)\s+(?:([\w.]+)\s*=|=\s*([\w.]+)\()\s*(?:"([^"]*)"|(\w+\.\w+))\)?$/;

/** Parses one Go source text. Declarations that carry no wire facts (functions, variables) are skipped. */
export function parseGoFile(text: string): GoFile {
  const file: GoFile = { imports: {}, types: [], constants: [] };
  const lines = text.replaceAll(/^\/\*[\s\S]*?\*\//gm, '').split('\n');
  let comment: string[] = [];
  let detached: string[] = [];
  let open: GoType | undefined;
  let block: 'import' | 'const' | undefined;

  for (const line of lines) {
    const trimmed = line.trim();
    if (trimmed.startsWith('//')) {
      comment.push(trimmed.slice(2).trim());
      continue;
    }
    if (trimmed === '') {
      // A marker may stand one blank line above a type's own comment (`+genclient`), never above a field's.
      detached = comment.length > 0 ? comment : detached;
      comment = [];
      continue;
    }
    if (open?.fields) {
      if (trimmed === '}') {
        file.types.push(open);
        open = undefined;
      } else {
        const field = parseField(trimmed, comment);
        if (field) open.fields.push(field);
      }
    } else if (block) {
      if (trimmed === ')') block = undefined;
      else if (block === 'import') readImport(trimmed, file);
      else readConstant(trimmed, file);
    } else if (trimmed.startsWith('import')) {
      if (trimmed.endsWith('(')) block = 'import';
      else readImport(trimmed, file);
    } else if (trimmed.startsWith('const')) {
      if (trimmed.endsWith('(')) block = 'const';
      else readConstant(trimmed, file);
    } else {
      const declared = /^type\s+([A-Za-z0-9_]+)\s+(=\s*)?(.+)$/.exec(line);
      const [, name, , body] = declared ?? [];
      if (name && body) {
        const markers = parseMarkers([...detached, ...comment]);
        if (body === 'struct {') open = { name, fields: [], markers };
        else if (body === 'struct{}' || body === 'struct {}') file.types.push({ name, fields: [], markers });
        else if (!body.startsWith('func') && !body.startsWith('interface')) {
          file.types.push({ name, underlying: withoutTrailingComment(body), markers });
        }
      }
    }
    comment = [];
    detached = [];
  }
  return file;
}

/** Reads the Go type names that a `register.go` adds to its group and version: `&Pod{},`. */
export function parseRegistrations(text: string): string[] {
  const names: string[] = [];
  for (const call of text.matchAll(/AddKnownTypes\(\s*SchemeGroupVersion,([\s\S]*?)\)/g)) {
    for (const item of call[1]!.matchAll(/&([A-Za-z0-9_.]+)\{\}/g)) names.push(item[1]!);
  }
  return names;
}

function readImport(line: string, file: GoFile): void {
  const [, alias, path] = importLine.exec(line) ?? [];
  if (path) file.imports[alias ?? path.slice(path.lastIndexOf('/') + 1)] = path;
}

function readConstant(line: string, file: GoFile): void {
  const [, name, declared, converted, value, reference] = constantLine.exec(withoutTrailingComment(line)) ?? [];
  const type = declared ?? converted;
  if (!name || !type) return;
  if (value !== undefined) file.constants.push({ name, type, value });
  else if (reference) file.constants.push({ name, type, value: { reference } });
}

function parseField(line: string, comment: string[]): GoField | undefined {
  const [, declaration, tagText] = /^([^`]+?)\s*`([^`]*)`/.exec(line) ?? [undefined, withoutTrailingComment(line), ''];
  if (!declaration) return undefined;
  const markers = parseMarkers(comment);
  const tags: Record<string, string> = {};
  for (const tag of (tagText ?? '').matchAll(/([A-Za-z]+):"([^"]*)"/g)) tags[tag[1]!] = tag[2]!;
  const [, name, type] = /^([A-Za-z0-9_]+)\s+(.+)$/.exec(declaration) ?? [];
  if (name && type) return { name, type, embedded: false, tags, markers };
  return {
    name: declaration.slice(declaration.lastIndexOf('.') + 1).replace('*', ''),
    type: declaration,
    embedded: true,
    tags,
    markers,
  };
}

function parseMarkers(comment: string[]): GoMarkers {
  const markers: GoMarkers = {};
  for (const line of comment) {
    const [, key, value] = /^\+([A-Za-z0-9:_.-]+)(?:=(.*))?$/.exec(line) ?? [];
    if (!key) continue;
    markers[key] ??= [];
    markers[key].push(value ?? '');
  }
  return markers;
}

function withoutTrailingComment(line: string): string {
  return line.replace(/\s*\/\/.*$/, '').trim();
}
