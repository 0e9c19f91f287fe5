/** What went wrong, independent of the Engine's version: callers branch on this, never on message text. */
export type DockerErrorKind =
  | 'notFound'
  | 'conflict'
  | 'badRequest'
  | 'unauthorized'
  | 'server'
  /** The Engine took the call and gave no answer in time: it may have done it, or may do it yet. */
  | 'timeout'
  /** The Engine did not answer: socket gone, connection reset, daemon restarting. */
  | 'unreachable';

/** An Engine call that failed. `message` names the call and carries the Engine's own words. */
export class DockerError extends Error {
  override readonly name = 'DockerError';
  readonly kind: DockerErrorKind;
  /** Such as `create container k8s_POD_web`. */
  readonly operation: string;
  /** The Engine's own message, as events and statuses show it. */
  readonly engineMessage: string;
  readonly statusCode: number | undefined;

  constructor(operation: string, kind: DockerErrorKind, engineMessage: string, statusCode?: number, cause?: unknown) {
    super(`${operation}: ${engineMessage}`, { cause });
    this.operation = operation;
    this.kind = kind;
    this.engineMessage = engineMessage;
    this.statusCode = statusCode;
  }
}

const KIND_OF_STATUS: Record<number, DockerErrorKind> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'unauthorized',
  404: 'notFound',
  409: 'conflict',
};

/** The kind that an HTTP status of the Engine stands for. */
export function kindOfStatus(statusCode: number): DockerErrorKind {
  return KIND_OF_STATUS[statusCode] ?? 'server';
}

function isKind(error: unknown, kind: DockerErrorKind): boolean {
  return error instanceof DockerError && error.kind === kind;
}

export const isDockerNotFound = (error: unknown): boolean => isKind(error, 'notFound');
export const isDockerConflict = (error: unknown): boolean => isKind(error, 'conflict');
export const isDockerTimeout = (error: unknown): boolean => isKind(error, 'timeout');

/** The shortest text worth showing to a user: the Engine's words without our call's name. */
export function dockerMessage(error: unknown): string {
  if (error instanceof DockerError) return error.engineMessage;
  return error instanceof Error ? error.message : String(error);
}
