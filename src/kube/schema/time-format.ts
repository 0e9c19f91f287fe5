/**
 * RFC 3339 in UTC from Unix seconds: `2026-01-02T15:04:05Z`, with `microseconds` `2026-01-02T15:04:05.000000Z`.
 */
export function formatTime(unixSeconds: number, microseconds?: number): string {
  const seconds = new Date(unixSeconds * 1000).toISOString().slice(0, 19);
  return microseconds === undefined ? `${seconds}Z` : `${seconds}.${String(microseconds).padStart(6, '0')}Z`;
}

const rfc3339 = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/;

/**
 * Brings an RFC 3339 time into the form that Kubernetes stores: UTC, whole seconds (Time) or six decimals (MicroTime).
 * Undefined when the text is no such time.
 */
export function canonicalTime(text: string, precision: 'seconds' | 'microseconds'): string | undefined {
  const [, local, fraction = '', zone] = rfc3339.exec(text) ?? [];
  if (local === undefined) return undefined;
  const unixMs = Date.parse(local + zone);
  // Date.parse takes 30 February for 2 March.
  const localMs = Date.parse(`${local}Z`);
  if (Number.isNaN(unixMs) || !new Date(localMs).toISOString().startsWith(local)) return undefined;
  if (unixMs < firstMs || unixMs > lastMs) return undefined;
  const microseconds = Number(fraction.padEnd(6, '0').slice(0, 6));
  return formatTime(unixMs / 1000, precision === 'seconds' ? undefined : microseconds);
}

const firstMs = Date.parse('0000-01-01T00:00:00Z');
const lastMs = Date.parse('9999-12-31T23:59:59Z');
const second = 1_000_000_000;

/** Go's text for a duration: `0s`, `1.5s`, `250ms`, `1h0m0s`. */
export function formatDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return '0s';
  const sign = nanoseconds < 0 ? '-' : '';
  const total = Math.abs(nanoseconds);
  if (total < 1000) return `${sign}${total}ns`;
  if (total < 1_000_000) return `${sign}${total / 1000}µs`;
  if (total < second) return `${sign}${total / 1_000_000}ms`;
  const hours = Math.floor(total / (3600 * second));
  const minutes = Math.floor(total / (60 * second)) % 60;
  const seconds = (total % (60 * second)) / second;
  return `${sign}${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds}s`;
}

const goDuration = /^[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|\u03bcs|ms|s|m|h))+)$/;

/** Whether Go's time.ParseDuration would take the text. */
export function isDuration(text: string): boolean {
  return goDuration.test(text);
}
