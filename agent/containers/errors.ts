/**
 * A container could not be brought up. `reason` is what status.containerStatuses[].state.waiting shows
 * (`CreateContainerConfigError`, `ErrImagePull`, …), `message` is for people.
 */
export class ContainerStartError extends Error {
  override readonly name = 'ContainerStartError';
  readonly reason: string;
  /** Milliseconds until a retry makes sense; the worker's own back-off when undefined. */
  readonly retryAfterMs: number | undefined;

  constructor(reason: string, message: string, options: { cause?: unknown; retryAfterMs?: number } = {}) {
    super(message, { cause: options.cause });
    this.reason = reason;
    this.retryAfterMs = options.retryAfterMs;
  }
}

const IMAGE_REASONS = new Set([
  'ErrImagePull',
  'ErrImageNeverPull',
  'ImageInspectError',
  'ImagePullBackOff',
  'InvalidImageName',
  'RegistryUnavailable',
]);

/** Reasons about images: their event is the reason alone (`Error: ErrImagePull`), since others tell the rest. */
export function isImageReason(reason: string): boolean {
  return IMAGE_REASONS.has(reason);
}

/** The spec asks for something that is wrong or that its surroundings do not offer (yet). */
export function configError(message: string, cause?: unknown): ContainerStartError {
  return new ContainerStartError('CreateContainerConfigError', message, { cause });
}
