import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type GoConstant, type GoType, parseGoFile, parseRegistrations } from './go-source.ts';
import { type ProtoMessages, parseProtoFile } from './proto-source.ts';

/** One Go package of API types, read but not yet resolved. */
export interface GoPackage {
  /** Short name: the last two parts of the path, `core/v1`. */
  id: string;
  /** Go import path. */
  path: string;
  group: string;
  version: string;
  /** Prefix of the OpenAPI model names. */
  model: string;
  types: Map<string, GoType>;
  /** Import path by alias; packages use one alias for one path throughout. */
  imports: Record<string, string>;
  constants: GoConstant[];
  registered: string[];
  lifecycle: Map<string, Lifecycle>;
  messages: ProtoMessages;
}

/** Releases as `1.NN`; replacement as `group/version Kind`. */
export interface Lifecycle {
  introduced?: string;
  deprecated?: string;
  removed?: string;
  replacement?: string;
}

/** Every folder below these (relative to the `k8s.io` folder of the Go sources) that registers types. */
const roots = [
  'api',
  'apimachinery/pkg/apis/meta',
  'apiextensions-apiserver/pkg/apis/apiextensions',
  'metrics/pkg/apis/metrics',
];

/** Reads all API packages below `sourceRoot`, the `k8s.io` folder, sorted by id. */
export function readGoPackages(sourceRoot: string): GoPackage[] {
  const packages: GoPackage[] = [];
  for (const root of roots) {
    for (const entry of readdirSync(join(sourceRoot, root), { recursive: true, withFileTypes: true })) {
      if (entry.name === 'register.go' && /\/v\d+((alpha|beta)\d+)?$/.test(entry.parentPath)) {
        packages.push(readGoPackage(sourceRoot, entry.parentPath));
      }
    }
  }
  return packages.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function readGoPackage(sourceRoot: string, folder: string): GoPackage {
  const read = (name: string): string =>
    existsSync(join(folder, name)) ? readFileSync(join(folder, name), 'utf8') : '';
  const id = folder.split('/').slice(-2).join('/');
  const register = read('register.go');
  const group = /GroupName\s*=\s*"([^"]*)"/.exec(register)?.[1];
  const version = /SchemeGroupVersion\s*=[^\n]*Version:\s*"([^"]+)"/.exec(register)?.[1];
  const model = /return "(io\.k8s\.[^"]+)\.[A-Za-z0-9]+"/.exec(read('zz_generated.model_name.go'))?.[1];
  if (group === undefined || !version || !model)
    throw new Error(`${folder}: register.go or zz_generated.model_name.go has an unknown form`);
  const result: GoPackage = {
    id,
    path: `k8s.io/${relative(sourceRoot, folder)}`,
    group,
    version,
    model,
    types: new Map(),
    imports: {},
    constants: [],
    registered: parseRegistrations(register),
    lifecycle: parseLifecycle(read('zz_generated.prerelease-lifecycle.go')),
    messages: parseProtoFile(read('generated.proto')),
  };
  for (const name of readdirSync(folder).sort()) {
    if (
      !name.endsWith('.go') ||
      name.endsWith('_test.go') ||
      /generated|fieldsv1_string|register|conversion|marshal/.test(name)
    )
      continue;
    const file = parseGoFile(read(name));
    for (const type of file.types) result.types.set(type.name, type);
    result.constants.push(...file.constants);
    Object.assign(result.imports, file.imports);
  }
  return result;
}

function parseLifecycle(text: string): Map<string, Lifecycle> {
  const lifecycles = new Map<string, Lifecycle>();
  for (const method of text.matchAll(/^func \(in \*(\w+)\) APILifecycle(\w+)\(\)[^{]*\{\n\s*return ([^\n]+)\n/gm)) {
    const lifecycle = lifecycles.get(method[1]!) ?? {};
    lifecycles.set(method[1]!, lifecycle);
    const [, major, minor] = /^(\d+), (\d+)$/.exec(method[3]!) ?? [];
    if (method[2] === 'Replacement') {
      const [, group, version, kind] = /Group: "([^"]*)", Version: "([^"]*)", Kind: "([^"]*)"/.exec(method[3]!) ?? [];
      lifecycle.replacement = `${group ? `${group}/` : ''}${version} ${kind}`;
    } else if (method[2] === 'Introduced') lifecycle.introduced = `${major}.${minor}`;
    else if (method[2] === 'Deprecated') lifecycle.deprecated = `${major}.${minor}`;
    else if (method[2] === 'Removed') lifecycle.removed = `${major}.${minor}`;
  }
  return lifecycles;
}
