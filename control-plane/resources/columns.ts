import type { KubeObject } from '../../src/kube/types.ts';
import type { TableColumn } from '../apiserver/definition.ts';

/** Building blocks of `kubectl get` columns (sheet §4). */

export const nameColumn: TableColumn = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: 'Name must be unique within a namespace.',
  priority: 0,
  cell: (object) => object.metadata.name,
};

export const ageColumn: TableColumn = {
  name: 'Age',
  type: 'string',
  description: 'CreationTimestamp is the server time when this object was created.',
  priority: 0,
  cell: (object, nowMs) => age(object.metadata.creationTimestamp, nowMs),
};

/** A column of the usual output. */
export function column<T extends KubeObject>(
  name: string,
  type: TableColumn['type'],
  description: string,
  cell: TableColumn<T>['cell'],
): TableColumn<T> {
  return { name, type, description, priority: 0, cell };
}

/** A column of `-o wide` only. */
export function wideColumn<T extends KubeObject>(
  name: string,
  type: TableColumn['type'],
  description: string,
  cell: TableColumn<T>['cell'],
): TableColumn<T> {
  return { name, type, description, priority: 1, cell };
}

/** Time since an RFC 3339 timestamp in short form; `<unknown>` when there is none. */
export function age(timestamp: string | undefined | null, nowMs: number): string {
  const sinceMs = timestamp ? nowMs - Date.parse(timestamp) : Number.NaN;
  return Number.isNaN(sinceMs) ? '<unknown>' : shortDuration(sinceMs);
}

/**
 * duration.HumanDuration: two or three significant figures, `90s`, `5m12s`, `170m`, `3h20m`, `30h`, `2d3h`, `400d`,
 * `3y12d`. Clocks of other machines may be a little ahead: up to 2 s in the future counts as now.
 */
export function shortDuration(durationMs: number): string {
  const seconds = Math.trunc(durationMs / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.trunc(minutes / 60);
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.trunc(hours / 24);
  if (days < 8) return pair(days, 'd', hours % 24, 'h');
  if (days < 365 * 2) return `${days}d`;
  const years = Math.trunc(days / 365);
  return years < 8 ? pair(years, 'y', days % 365, 'd') : `${years}y`;
}

const pair = (large: number, largeUnit: string, small: number, smallUnit: string) =>
  small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;

/** The first three, then ` + N more...`; `empty` when there are none. */
export function firstThree(items: readonly string[], empty: string): string {
  if (items.length === 0) return empty;
  const shown = items.slice(0, 3).join(',');
  return items.length > 3 ? `${shown} + ${items.length - 3} more...` : shown;
}
