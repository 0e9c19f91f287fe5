/**
 * Adds to package-lock.json what npm left out: optional packages for other platforms that the registry at hand does not carry.
 * `npm install` skips them in silence, and `npm ci` then refuses the lock file everywhere. On the platforms that have no use for
 * them they are never downloaded, so an entry without a checksum is enough.
 *
 *     npm install -E NAME && node cli/maintenance/complete-lock-file.ts
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type LockFile, missingOptionalPackages } from './lock-file.ts';

const file = join(dirname(dirname(import.meta.dirname)), 'package-lock.json');
const lock: LockFile = JSON.parse(readFileSync(file, 'utf8'));
const missing = missingOptionalPackages(lock);
for (const { path, entry } of missing) lock.packages[path] = entry;
const sorted = Object.entries(lock.packages).sort(([one], [other]) => one.localeCompare(other, 'en'));
writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
process.stdout.write(`${missing.length} entries added\n${missing.map(({ path }) => `  ${path}\n`).join('')}`);
