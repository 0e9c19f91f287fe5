import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IndexFacts, PackageFacts } from './facts.ts';
import { renderSpecialTypes, renderTypes, typesModule } from './write-types.ts';

/**
 * Writes `folder` anew: `index.json`, one `data/<package>-<version>.json` and one `types/<package>-<version>.ts` a package.
 * Equal input gives equal bytes.
 */
export function writeGenerated(
  folder: string,
  packages: ReadonlyMap<string, PackageFacts>,
  sources: Record<string, string>,
): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'data'), { recursive: true });
  mkdirSync(join(folder, 'types'), { recursive: true });
  const index: IndexFacts = { sources, packages: {} };
  writeFileSync(join(folder, 'types/special.ts'), renderSpecialTypes());
  for (const [id, facts] of packages) {
    index.packages[id] = { group: facts.group, version: facts.version, kinds: Object.keys(facts.kinds).sort() };
    writeFileSync(join(folder, `data/${typesModule(id)}.json`), renderPackage(facts));
    writeFileSync(join(folder, `types/${typesModule(id)}.ts`), renderTypes(id, packages));
  }
  writeFileSync(join(folder, 'index.json'), `${JSON.stringify(index)}\n`);
}

/** One line a kind and a type, so that the next release's difference can be read. */
function renderPackage({ kinds, types, ...head }: PackageFacts): string {
  const table = (entries: Record<string, unknown>): string =>
    Object.keys(entries)
      .sort()
      .map((name) => `${JSON.stringify(name)}:${JSON.stringify(entries[name])}`)
      .join(',\n');
  return `${JSON.stringify(head).slice(0, -1)},\n"kinds":{\n${table(kinds)}},\n"types":{\n${table(types)}}}\n`;
}
