import type { TestTotals } from './report.ts';

/** More unsteady files than this in a rung are no bad luck: something is broken. */
const MAX_FILES = 2;

/**
 * The files of a rung whose failed tests deserve to be seen alone on a quiet machine, each with the number of its failures; undefined when
 * there are none, when there are many, or when something failed that is no test of a file (a process that died, a check).
 * @param files as they were given to ava: `test/<rung>/…/<name>.test.ts`
 */
export function filesToTryAgain(
  { failed, failedNames }: Pick<TestTotals, 'failed' | 'failedNames'>,
  files: readonly string[],
): ReadonlyMap<string, number> | undefined {
  if (failed === 0 || failed !== failedNames.length) return undefined;
  const found = new Map<string, number>();
  for (const name of failedNames) {
    const file = fileOf(name, files);
    if (file === undefined) return undefined;
    found.set(file, (found.get(file) ?? 0) + 1);
  }
  return found.size > MAX_FILES ? undefined : found;
}

/** ava puts a file's folders and name, from where the files' paths part, before its tests' titles. */
function fileOf(name: string, files: readonly string[]): string | undefined {
  if (files.length === 1) return files[0];
  let best: { file: string; length: number } | undefined;
  for (const file of files) {
    const parts = file.replace(/\.test\.ts$/, '').split('/');
    for (let from = 1; from < parts.length; from++) {
      const prefix = `${parts.slice(from).join(' › ')} › `;
      if (!name.startsWith(prefix) || prefix.length <= (best?.length ?? 0)) continue;
      best = { file, length: prefix.length };
    }
  }
  return best?.file;
}
