import { describeEnd, type End, percent } from '../../proxy/trace/ends.ts';
import type { TraceStep } from '../../proxy/trace/packet.ts';
import type { Trace } from '../../proxy/trace/trace.ts';
import { renderTable } from '../output/table.ts';

export interface TraceReport extends Trace {
  node: string;
  /** Seconds since the running proxy's last sync; null when none answers. */
  lastSyncAgeSeconds: number | null;
  /** What the answer does without, in sentences. */
  gaps: readonly string[];
}

/** The trace for people: the packet, each rule on the way, the ends with their chances, and why. */
export function renderTrace(report: TraceReport): string {
  const { packet, service, ends, reasons, live } = report;
  const from = packet.inInterface === undefined ? 'this node itself' : `interface ${packet.inInterface}`;
  const of = service
    ? `${service.at} of Service ${service.namespace}/${service.name}${service.port ? `, port ${service.port}` : ''}`
    : 'no Service';
  const at = packet.destination.includes(':') ? `[${packet.destination}]` : packet.destination;
  const lines = [
    `${packet.protocol} from ${packet.source} (${from}) to ${at}:${packet.destinationPort} (${of})`,
    `node ${report.node}, mode ${report.mode}${ageText(report.lastSyncAgeSeconds)}`,
    '',
    ...renderPaths(ends),
    '',
    renderEnds(ends),
  ];
  if (reasons.length > 0) lines.push('', 'Why:', ...reasons.map((reason) => `  ${reason}`));
  if (live) {
    lines.push('', 'In the kernel:');
    if (live.differences.length === 0) lines.push('  the same ends');
    else lines.push(...live.differences.map((difference) => `  ${difference}`), '', renderEnds(live.ends));
  }
  const doubts = [...new Set([...ends, ...(live?.ends ?? [])].flatMap((end) => end.doubts))];
  const unsure = [...report.gaps, ...doubts];
  if (unsure.length > 0) lines.push('', 'Not looked at:', ...unsure.map((gap) => `  ${gap}`));
  return `${lines.join('\n')}\n`;
}

function ageText(seconds: number | null): string {
  return seconds === null ? '' : `, last sync ${seconds.toFixed(0)} s ago`;
}

function renderEnds(ends: readonly End[]): string {
  return renderTable(
    ['CHANCE', 'END'],
    ends.map((end) => [percent(end.probability), describeEnd(end)]),
  );
}

/** Rules that all ways share stand once; what each end has for itself stands below its name. */
function renderPaths(ends: readonly End[]): string[] {
  const [first, ...others] = ends.map(({ rules }) => rules);
  if (!first) return [];
  let shared = 0;
  while (shared < first.length && others.every((rules) => sameStep(rules[shared], first[shared]!))) shared++;
  const lines = first.length === 0 ? ['No rule holds.'] : ['Rules:', ...first.slice(0, shared).map(stepLine('  '))];
  if (others.length === 0) return lines;
  for (const end of ends.slice(0, SHOWN_ENDS))
    lines.push(`  to ${describeEnd(end)}:`, ...end.rules.slice(shared).map(stepLine('    ')));
  if (ends.length > SHOWN_ENDS) lines.push(`  and ${ends.length - SHOWN_ENDS} more ends; -o json shows all`);
  return lines;
}

const SHOWN_ENDS = 10;

function stepLine(indent: string) {
  return ({ table, chain, rule }: TraceStep) => `${indent}${table} ${chain}: ${rule}`;
}

function sameStep(a: TraceStep | undefined, b: TraceStep): boolean {
  return a?.table === b.table && a.chain === b.chain && a.rule === b.rule;
}
