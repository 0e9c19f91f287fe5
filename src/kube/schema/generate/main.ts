/**
 * Generates src/kube/schema/generated from Debian's Kubernetes API sources:
 *
 *     node src/kube/schema/generate/main.ts [FOLDER]
 *
 * FOLDER: unpacked sources (a `k8s.io` folder) instead of a fetch. Run by hand when Kubernetes moves on; see docs/adr/0002.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchSources } from './debian.ts';
import { readGoPackages } from './go-package.ts';
import { resolvePackages } from './resolve.ts';
import { servedPackages } from './served.ts';
import { writeGenerated } from './write-data.ts';

const generated = join(import.meta.dirname, '../generated');
const given = process.argv[2];
const scratch = mkdtempSync(join(tmpdir(), 'berth-schema-'));
try {
  const { sourceRoot, versions } = given
    ? { sourceRoot: given, versions: { given: 'unpacked by hand' } }
    : await fetchSources(scratch);
  const packages = servedPackages(resolvePackages(readGoPackages(sourceRoot)));
  writeGenerated(generated, packages, versions);
  process.stdout.write(`${packages.size} packages from ${JSON.stringify(versions)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
