import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LineCounter, parseAllDocuments } from 'yaml';
import { ConfigError } from './config-error.ts';

/** What stands in configuration files, before anybody has looked at it. */
export interface ConfigSource {
  raw: Record<string, unknown>;
  /** "FILE:LINE" of a field's path, in the file that gave it; undefined when none did. */
  placeOf(path: readonly string[]): string | undefined;
}

interface Kind {
  apiVersion: string;
  kind: string;
}

/** The extension of drop-ins; others in their folder (`README`, `10-old.conf.bak`) are left alone. */
const DROP_IN = '.conf';

/**
 * One configuration file (YAML or JSON) and the drop-ins above it: every `*.conf` of the folder and those below it, in the order of
 * their paths, each laid over what came before as a JSON merge patch. So maps merge, lists and values are replaced, null goes back to the default.
 * @throws ConfigError with the files that are not what they should be
 */
export function readConfigSource(kind: Kind, input: { file?: string; dropInDir?: string }): ConfigSource {
  const files = [
    ...(input.file === undefined ? [] : [input.file]),
    ...(input.dropInDir === undefined ? [] : listDropIns(input.dropInDir)),
  ];
  const problems: string[] = [];
  const documents = files.flatMap((file) => {
    try {
      return [{ file, ...readDocument(kind, file) }];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
      return [];
    }
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    raw: documents.reduce<Record<string, unknown>>((raw, document) => mergePatch(raw, document.raw), {}),
    placeOf(path) {
      for (const { file, lineOf } of documents.toReversed()) {
        const line = lineOf(path);
        if (line !== undefined) return `${file}:${line}`;
      }
      return undefined;
    },
  };
}

/** As filepath.WalkDir: each folder's entries by name, a folder's own before the next entry. Hidden ones count like others. */
function listDropIns(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((entry) => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return listDropIns(path);
        return entry.name.endsWith(DROP_IN) ? [path] : [];
      });
  } catch (error) {
    throw new ConfigError([`cannot read the folder of configuration drop-ins ${folder}: ${(error as Error).message}`]);
  }
}

function readDocument({ apiVersion, kind }: Kind, file: string) {
  const lines = new LineCounter();
  const documents = parseAllDocuments(readText(file), { lineCounter: lines });
  const broken = documents.flatMap((one) => one.errors);
  if (broken.length > 0) throw new ConfigError(broken.map(({ message }) => `${file}: not YAML: ${firstLine(message)}`));
  const document = documents[0];
  if (documents.length !== 1 || !document)
    throw new ConfigError([`${file}: holds ${documents.length} YAML documents; accepted: one ${kind}`]);
  const { apiVersion: version, kind: what, ...raw } = asMap(document.toJS()) ?? {};
  if (version !== apiVersion || what !== kind)
    throw new ConfigError([
      `${file}: apiVersion is ${show(version)}, kind is ${show(what)}; accepted: ${show(apiVersion)} and ${show(kind)}`,
    ]);
  const lineOf = (path: readonly string[]) => {
    const node = document.getIn(path, true) as { range?: [number] } | undefined;
    return node?.range ? lines.linePos(node.range[0]).line : undefined;
  };
  return { raw, lineOf };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError([`cannot read the configuration file ${file}: ${(error as Error).message}`]);
  }
}

/** RFC 7396. */
function mergePatch(target: Record<string, unknown>, patch: Record<string, unknown>): Record<string, unknown> {
  const merged = { ...target };
  for (const [name, value] of Object.entries(patch)) {
    const map = asMap(value);
    if (value === null) delete merged[name];
    else merged[name] = map ? mergePatch(asMap(merged[name]) ?? {}, map) : value;
  }
  return merged;
}

export function asMap(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** A value as error messages show it. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'absent';
  return text.length > 100 ? `${text.slice(0, 97)}...` : text;
}

/** The parser's message goes on with the place drawn in the text; its first line names it already. */
function firstLine(message: string): string {
  return (message.split('\n')[0] ?? '').replace(/:$/, '');
}
