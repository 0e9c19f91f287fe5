import type { Status } from './types.ts';

/** An answer of the API server that says no: carries its Status object. */
export class ApiError extends Error {
  readonly status: Status;
  /** HTTP status code. */
  readonly code: number;
  /** The machine-readable reason ('NotFound', 'Conflict', …); '' when the server gave none. */
  readonly reason: string;

  constructor(status: Status, options?: { cause?: unknown }) {
    super(status.message || `the server answered ${status.code ?? 500} ${status.reason ?? ''}`.trimEnd(), options);
    this.name = 'ApiError';
    this.status = status;
    this.code = status.code ?? 500;
    this.reason = status.reason ?? '';
  }
}

/** A Status for an answer whose body was none (a proxy's page, plain text). */
export function statusFromText(code: number, text: string, what: string): Status {
  return {
    apiVersion: 'v1',
    kind: 'Status',
    metadata: {},
    status: 'Failure',
    message: `${what}: HTTP ${code}${text ? `: ${text.slice(0, 500)}` : ''}`,
    reason: REASONS[code] ?? '',
    code,
  };
}

const REASONS: Record<number, string> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  409: 'Conflict',
  410: 'Gone',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

export function isNotFound(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 404;
}

/** A lost race (409): the object changed since it was read, or a precondition failed. Not: the name exists already. */
export function isConflict(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 409 && error.reason !== 'AlreadyExists';
}

export function isAlreadyExists(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 409 && error.reason === 'AlreadyExists';
}

/** The resourceVersion or continue token is too old (410): list anew. */
export function isGone(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.code === 410 || error.reason === 'Expired' || error.reason === 'Gone');
}

export function isForbidden(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === 403;
}

/** The namespace is being deleted: creating in it is pointless. */
export function isNamespaceTerminating(error: unknown): error is ApiError {
  return (
    isForbidden(error) &&
    (error.status.details?.causes ?? []).some((cause: { reason?: string }) => cause.reason === 'NamespaceTerminating')
  );
}

/** Worth repeating the very same request: overload or the server's own trouble. */
export function isTransient(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.code === 429 || (error.code >= 500 && !isTooLargeResourceVersion(error)));
}

/** The server has not seen this resourceVersion (504): its history is another one than ours. */
export function isTooLargeResourceVersion(error: unknown): error is ApiError {
  return (
    error instanceof ApiError &&
    error.code === 504 &&
    ((error.status.details?.causes ?? []).some(
      (cause: { reason?: string }) => cause.reason === 'ResourceVersionTooLarge',
    ) ||
      /too large resource version/i.test(error.message))
  );
}
