/** The query of /containerLogs, as Docker's log API takes it. */
export interface ContainerLogOptions {
  follow: boolean;
  previous: boolean;
  timestamps: boolean;
  tail?: number;
  limitBytes?: number;
  sinceMs?: number;
  stdout: boolean;
  stderr: boolean;
}

export class LogOptionsError extends Error {
  override readonly name = 'LogOptionsError';
}

/** Parses and checks the query. Throws LogOptionsError in the API's words. */
export function parseLogOptions(query: URLSearchParams, nowMs: number): ContainerLogOptions {
  const tail = integer(query, 'tailLines', 0);
  const limitBytes = integer(query, 'limitBytes', 1);
  const sinceSeconds = integer(query, 'sinceSeconds', 1);
  const sinceTime = query.get('sinceTime') || undefined;
  if (sinceSeconds !== undefined && sinceTime !== undefined)
    throw new LogOptionsError('at most one of `sinceTime` or `sinceSeconds` may be specified');
  const sinceMs = sinceSeconds === undefined ? parseTime(sinceTime) : nowMs - sinceSeconds * 1000;
  const stream = query.get('stream') || 'All';
  if (!['All', 'Stdout', 'Stderr'].includes(stream))
    throw new LogOptionsError(`stream: Unsupported value: "${stream}": supported values: "All", "Stderr", "Stdout"`);
  if (stream !== 'All' && tail !== undefined)
    throw new LogOptionsError('tailLines: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now');
  return {
    follow: boolean(query, 'follow'),
    previous: boolean(query, 'previous'),
    timestamps: boolean(query, 'timestamps'),
    ...(tail !== undefined && { tail }),
    ...(limitBytes !== undefined && { limitBytes }),
    ...(sinceMs !== undefined && { sinceMs }),
    stdout: stream !== 'Stderr',
    stderr: stream !== 'Stdout',
  };
}

function integer(query: URLSearchParams, name: string, least: number): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  if (!/^-?\d+$/.test(text)) throw new LogOptionsError(`${name}: Invalid value: "${text}": must be an integer`);
  const value = Number(text);
  if (value < least)
    throw new LogOptionsError(
      `${name}: Invalid value: ${value}: must be greater than ${least === 0 ? 'or equal to ' : ''}0`,
    );
  return value;
}

function boolean(query: URLSearchParams, name: string): boolean {
  const value = query.get(name);
  return value !== null && !['0', 'false', 'f', 'F', 'False', 'FALSE'].includes(value);
}

function parseTime(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new LogOptionsError(`sinceTime: Invalid value: "${text}": must be an RFC 3339 time`);
  return ms;
}
