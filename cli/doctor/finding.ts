/** What one look at the host found. */
export interface Finding {
  /** What was looked at, such as `runc`. */
  check: string;
  /** `warning`: it works, and somebody should know. `problem`: pods will not run, or not as they should. */
  state: 'ok' | 'warning' | 'problem';
  /** What is there. */
  detail: string;
  /** The way out of a warning or problem. */
  remedy?: string;
}

/** Numbers of a version, as far as they go: `1.1.5+ds1` → [1, 1, 5]. */
function versionNumbers(version: string): number[] {
  return (/\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number);
}

/** Whether a version is older than another; a part that is missing counts as 0. */
export function isOlder(version: string, than: string): boolean {
  const [one, other] = [versionNumbers(version), versionNumbers(than)];
  for (let at = 0; at < Math.max(one.length, other.length); at++)
    if ((one[at] ?? 0) !== (other[at] ?? 0)) return (one[at] ?? 0) < (other[at] ?? 0);
  return false;
}
