/** What one run of ava reported, read from its TAP stream. */
export interface TapTotals {
  passed: number;
  failed: number;
  skipped: number;
  /** The names of skipped tests: what this host cannot run is said by name. */
  skippedNames: string[];
}

const TEST_POINT = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO)\b.*)?$/;

/**
 * Feeds on TAP lines. `onFailure` gets a failed test's name and, line by line, its diagnostics (the indented YAML block after it).
 */
export function createTapReader(onFailure: (line: string) => void) {
  const totals: TapTotals = { passed: 0, failed: 0, skipped: 0, skippedNames: [] };
  let inFailure = false;
  let last = '';
  return {
    totals,
    /** The test that ended last: ava's TAP reporter dies on a timeout without a word of which test it was. */
    last: () => last,
    line(text: string) {
      const point = TEST_POINT.exec(text);
      if (!point) {
        if (inFailure && text.startsWith(' ')) onFailure(text);
        return;
      }
      const [, not, name = '', directive] = point;
      inFailure = false;
      last = name;
      if (directive) {
        totals.skipped++;
        totals.skippedNames.push(name);
      } else if (not) {
        totals.failed++;
        inFailure = true;
        onFailure(`✗ ${name}`);
      } else {
        totals.passed++;
      }
    },
  };
}
