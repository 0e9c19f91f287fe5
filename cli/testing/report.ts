import { stripVTControlCharacters } from 'node:util';

/** What one run of ava reported. */
export interface TestTotals {
  passed: number;
  failed: number;
  skipped: number;
  /** The names of skipped tests: what this host cannot run is said by name. */
  skippedNames: string[];
  /** One entry per failure; a test's title as ava prints it. */
  failedNames: string[];
}

export const noTests = (): TestTotals => ({ passed: 0, failed: 0, skipped: 0, skippedNames: [], failedNames: [] });

const PASSED = /^ {2}✔ (?:\[expected fail\] )?(.+)$/;
const FAILED = /^ {2}✘ \[fail\]: (.+)$/;
const SKIPPED = /^ {2}- \[(?:skip|todo)\] (.+)$/;
/** In the list of what had not ended when nothing happened for too long. */
const PENDING = /^ {2}◌ (.+)$/;
const LOGGED = /^ {4}(?:ℹ| {2})/;

/**
 * Reads what ava's default reporter prints. Its TAP reporter dies of failures that its YAML cannot hold (an `undefined` among the details) and of
 * time-outs, without a word of which test it was.
 * @param onFailure gets the name of each failed test at once
 */
export function createReportReader(onFailure: (line: string) => void) {
  const totals = noTests();
  const rest: string[] = [];
  return {
    totals,
    line(coloured: string) {
      // Where the runner has a terminal, as in a guest, it uses colours.
      const text = stripVTControlCharacters(coloured);
      const skipped = SKIPPED.exec(text)?.[1];
      const failed = FAILED.exec(text)?.[1];
      const pending = PENDING.exec(text)?.[1];
      if (PASSED.test(text)) totals.passed++;
      else if (skipped !== undefined) {
        totals.skipped++;
        totals.skippedNames.push(skipped);
      } else if (failed !== undefined || pending !== undefined) {
        const name = failed ?? `${pending} (it never ended)`;
        totals.failed++;
        totals.failedNames.push(name);
        onFailure(`✗ ${name}`);
      } else if (!LOGGED.test(text)) rest.push(text);
    },
    /** All that was said beside the tests' names: why they failed, what happened outside of them. Without failures it says nothing new. */
    details: (): readonly string[] => rest,
  };
}
