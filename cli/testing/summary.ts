import type { TestTotals } from './report.ts';

export interface RungResult extends TestTotals {
  name: string;
  seconds: number;
  /** Why tests failed, as ava tells it. */
  details: readonly string[];
  /** Files that failed in the run and passed when they were run again, alone. */
  unsteady: string[];
}

/** Of a rung's details: enough for some failures; the rest stands above, where it was printed first. */
const MAX_DETAIL_LINES = 80;

/** The table, what failed and why once more (whoever has only the end of a long log sees it), and the closing line. */
export function summarize(results: readonly RungResult[]): { lines: string[]; green: boolean } {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const lines = [''];
  for (const { name, passed, failed, skipped, skippedNames, seconds } of results) {
    lines.push(
      `${name.padEnd(10)} ${String(passed).padStart(5)} passed ${String(failed).padStart(3)} failed ${String(skipped).padStart(3)} skipped ${seconds.toFixed(1).padStart(7)} s`,
    );
    for (const skippedName of skippedNames) lines.push(`           skipped: ${skippedName}`);
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
  }
  for (const { name, failedNames, details, unsteady } of results) {
    if (failedNames.length === 0) continue;
    lines.push(
      '',
      ...failedNames.map((failedName) => `✗ ${name}: ${failedName}`),
      ...details.slice(0, MAX_DETAIL_LINES),
    );
    for (const file of unsteady)
      lines.push(`unsteady: ${file} failed as told here, and passed when it was run again, alone`);
  }
  lines.push('', `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return { lines, green: total.failed === 0 && total.passed > 0 };
}
