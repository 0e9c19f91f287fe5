import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PackageFacts, SchemaFacts } from './facts.ts';
import { renderSpecialTypes, renderTypes, typesModule } from './write-types.ts';

/**
 * Writes `folder` anew: `tables.json` with all facts, and one `types/<package>-<version>.ts` a package. Equal input gives
 * equal bytes.
 */
export function writeGenerated(
  folder: string,
  packages: ReadonlyMap<string, PackageFacts>,
  sources: SchemaFacts['sources'],
): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'types'), { recursive: true });
  writeFileSync(join(folder, 'types/special.ts'), renderSpecialTypes());
  for (const id of packages.keys()) {
    writeFileSync(join(folder, `types/${typesModule(id)}.ts`), renderTypes(id, packages));
  }
  const tables = [...packages].map(([id, facts]) => `${JSON.stringify(id)}:${renderPackage(facts)}`);
  writeFileSync(
    join(folder, 'tables.json'),
    `{"sources":${JSON.stringify(sources)},\n"packages":{\n${tables.join(',\n')}}}\n`,
  );
}

/** One line a kind and a type, so that the next release's difference can be read. */
function renderPackage({ kinds, types, ...head }: PackageFacts): string {
  const table = (entries: Record<string, unknown>): string =>
    Object.keys(entries)
      .sort()
      .map((name) => `${JSON.stringify(name)}:${JSON.stringify(entries[name])}`)
      .join(',\n');
  return `${JSON.stringify(head).slice(0, -1)},\n"kinds":{\n${table(kinds)}},\n"types":{\n${table(types)}}}`;
}
