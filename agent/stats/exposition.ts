/** Prometheus' text format, for metrics that are made anew with every scrape: a registry would keep the series of what is gone. */

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type MetricType = 'counter' | 'gauge';

export function header(name: string, type: MetricType, help: string): string {
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`;
}

/** `a="1",b="2"`; label names are ours, values are anybody's. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(',');
}

function escapeLabel(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value;
}

/** One line. @param timeMs when the value was read; without it, it is the scrape's time. */
export function sample(name: string, labels: string, value: number, timeMs?: number): string {
  const head = labels === '' ? name : `${name}{${labels}}`;
  return timeMs === undefined ? `${head} ${value}\n` : `${head} ${value} ${timeMs}\n`;
}
