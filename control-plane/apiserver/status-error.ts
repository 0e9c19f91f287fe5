import { describeFieldErrors, type FieldError, fieldErrorBody } from './field-error.ts';

/** metav1.Status of a failure, as it goes over the wire. */
export interface FailureStatus {
  kind: 'Status';
  apiVersion: 'v1';
  metadata: Record<string, unknown>;
  status: 'Failure';
  message: string;
  reason: string;
  details?: StatusDetails;
  code: number;
}

export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: StatusCause[];
  retryAfterSeconds?: number;
}

export interface StatusCause {
  reason?: string;
  message?: string;
  field?: string;
}

/** Thrown anywhere below a handler; the server answers with exactly this Status. */
export class StatusError extends Error {
  readonly status: FailureStatus;

  constructor(code: number, reason: string, message: string, details?: StatusDetails) {
    super(message);
    this.name = 'StatusError';
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      ...(details ? { details } : {}),
      code,
    };
  }

  get code(): number {
    return this.status.code;
  }

  get reason(): string {
    return this.status.reason;
  }
}

/** What Status errors say of a resource; a `ResourceDefinition` fits. */
interface Names {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
}

const details = (resource: Names, name: string, kind: string = resource.plural): StatusDetails => ({
  ...(name ? { name } : {}),
  ...(resource.group ? { group: resource.group } : {}),
  kind,
});

/** `deployments.apps "web"`; for core kinds `pods "web"`. */
const qualified = (resource: Names, name: string) =>
  `${resource.group ? `${resource.plural}.${resource.group}` : resource.plural} ${JSON.stringify(name)}`;

export const badRequest = (message: string) => new StatusError(400, 'BadRequest', message);

export const unauthorized = () => new StatusError(401, 'Unauthorized', 'Unauthorized');

export const forbidden = (resource: Names, name: string, why: string, causes?: StatusCause[]) =>
  new StatusError(403, 'Forbidden', `${qualified(resource, name)} is forbidden: ${why}`, {
    ...details(resource, name),
    ...(causes ? { causes } : {}),
  });

export const notFound = (resource: Names, name: string) =>
  new StatusError(404, 'NotFound', `${qualified(resource, name)} not found`, details(resource, name));

/** For paths that name nothing this server has. */
export const pathNotFound = (what = 'the server could not find the requested resource') =>
  new StatusError(404, 'NotFound', what, {});

export const methodNotAllowed = (what = 'the server does not allow this method on the requested resource') =>
  new StatusError(405, 'MethodNotAllowed', what, {});

export const notAcceptable = (accepted: readonly string[]) =>
  new StatusError(406, 'NotAcceptable', `only the following media types are accepted: ${accepted.join(', ')}`);

export const alreadyExists = (resource: Names, name: string) =>
  new StatusError(409, 'AlreadyExists', `${qualified(resource, name)} already exists`, details(resource, name));

export const conflict = (resource: Names, name: string, why: string) =>
  new StatusError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(resource, name)}: ${why}`,
    details(resource, name),
  );

export const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again';

export const expired = (message: string) => new StatusError(410, 'Expired', message);

export const tooLarge = (message: string) => new StatusError(413, 'RequestEntityTooLarge', message);

export const unsupportedMediaType = (message: string) => new StatusError(415, 'UnsupportedMediaType', message);

/** 422 with one cause per field: `Pod "x" is invalid: spec.containers: Required value`. */
export function invalidObject(resource: Names, name: string, errors: readonly FieldError[]): StatusError {
  return new StatusError(
    422,
    'Invalid',
    `${resource.group ? `${resource.kind}.${resource.group}` : resource.kind} ${JSON.stringify(name)} is invalid: ${describeFieldErrors(errors)}`,
    {
      ...details(resource, name, resource.kind),
      causes: errors.map((error) => ({ reason: error.type, message: fieldErrorBody(error), field: error.field })),
    },
  );
}

export const tooManyRequests = (message: string, retryAfterSeconds: number) =>
  new StatusError(429, 'TooManyRequests', message, { retryAfterSeconds });

export const internalError = (message: string) =>
  new StatusError(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] });

export const serviceUnavailable = (message: string) => new StatusError(503, 'ServiceUnavailable', message);

export const timeout = (message: string) => new StatusError(504, 'Timeout', message, {});

/** 504 for a resourceVersion that is not there yet: clients wait and ask again. */
export const resourceVersionTooLarge = (wanted: number, current: number) =>
  new StatusError(504, 'Timeout', `Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
