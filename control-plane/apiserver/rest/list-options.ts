import { type FieldError, forbidden, notSupported } from '../field-error.ts';
import { badRequest, invalidObject } from '../status-error.ts';

/** Where a list or a watch is to be read from. */
export interface VersionOptions {
  /** Undefined: not given; 0: any version will do. */
  readonly resourceVersion: number | undefined;
  readonly match: 'Exact' | 'NotOlderThan' | undefined;
}

const LIST_OPTIONS = { group: 'meta.k8s.io', plural: '', kind: 'ListOptions' };

export function parseResourceVersion(text: string | null): number | undefined {
  if (!text) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw badRequest(`resourceVersion: Invalid value: ${JSON.stringify(text)}: must be a decimal integer`);
  return value;
}

/** Reads and checks ?resourceVersion= and ?resourceVersionMatch= of a list (ValidateListOptions). */
export function listVersion(query: URLSearchParams): VersionOptions {
  const resourceVersion = parseResourceVersion(query.get('resourceVersion'));
  const match = matchOf(query);
  const problems: FieldError[] = [];
  if (query.get('sendInitialEvents') !== null)
    problems.push(forbidden('sendInitialEvents', 'sendInitialEvents is forbidden for list'));
  if (match !== undefined) {
    const field = 'resourceVersionMatch';
    if (query.get('continue'))
      problems.push(forbidden(field, 'resourceVersionMatch is forbidden when continue is provided'));
    else if (resourceVersion === undefined)
      problems.push(forbidden(field, 'resourceVersionMatch is forbidden unless resourceVersion is provided'));
    else if (match === 'Exact' && resourceVersion === 0)
      problems.push(forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'));
  }
  refuse(problems);
  return { resourceVersion, match };
}

/** Reads and checks the options of a watch; `initialEvents` undefined: legacy rules by resourceVersion. */
export function watchVersion(query: URLSearchParams): VersionOptions & { readonly initialEvents: boolean | undefined } {
  const resourceVersion = parseResourceVersion(query.get('resourceVersion'));
  const match = matchOf(query);
  const asked = query.get('sendInitialEvents');
  const initialEvents = asked === null || asked === '' ? undefined : asked === 'true' || asked === '1';
  const problems: FieldError[] = [];
  if (initialEvents === undefined && match !== undefined)
    problems.push(
      forbidden(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
      ),
    );
  if (initialEvents !== undefined) {
    if (match !== 'NotOlderThan')
      problems.push(
        match === undefined
          ? forbidden('resourceVersionMatch', 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan')
          : notSupported('resourceVersionMatch', match, ['NotOlderThan']),
      );
    if (initialEvents && query.get('allowWatchBookmarks') !== 'true' && query.get('allowWatchBookmarks') !== '1')
      problems.push(forbidden('allowWatchBookmarks', 'sendInitialEvents requires allowWatchBookmarks to be true'));
  }
  refuse(problems);
  return { resourceVersion, match, initialEvents };
}

/** ?limit=; undefined: no limit. */
export function parseLimit(query: URLSearchParams): number | undefined {
  const text = query.get('limit');
  if (!text) return undefined;
  const limit = Number(text);
  if (!/^\d+$/.test(text)) throw badRequest(`limit: Invalid value: ${JSON.stringify(text)}: must be an integer ≥ 0`);
  return limit > 0 ? limit : undefined;
}

function matchOf(query: URLSearchParams): VersionOptions['match'] {
  const match = query.get('resourceVersionMatch') || undefined;
  if (match !== undefined && match !== 'Exact' && match !== 'NotOlderThan')
    refuse([notSupported('resourceVersionMatch', match, ['Exact', 'NotOlderThan'])]);
  return match as VersionOptions['match'];
}

function refuse(problems: readonly FieldError[]): void {
  if (problems.length > 0) throw invalidObject(LIST_OPTIONS, '', problems);
}

/** Where the next page of a list begins: exactly at `revision`, after the last object sent. */
export interface ContinueToken {
  /** -1: the first page is too old; go on with what is there now. */
  readonly revision: number;
  readonly after: { readonly namespace: string; readonly name: string };
}

export function encodeContinue({ revision, after }: ContinueToken): string {
  const token = { v: 'meta.k8s.io/v1', rv: revision, start: `${after.namespace}/${after.name}\0` };
  return Buffer.from(JSON.stringify(token)).toString('base64url');
}

/** Throws 400 for a text that is no token. */
export function decodeContinue(text: string): ContinueToken {
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString()) as { v: string; rv: number; start: string };
    const match = /^([^/\0]*)\/([^/\0]+)\0$/.exec(token.start);
    if (token.v !== 'meta.k8s.io/v1' || !Number.isSafeInteger(token.rv) || !match) throw new Error('malformed');
    return { revision: token.rv, after: { namespace: match[1]!, name: match[2]! } };
  } catch {
    throw badRequest('continue key is not valid: it must be the continue value of an earlier answer');
  }
}
