/** gRPC's ResourceExhausted: the driver cannot attach one volume more to this node. */
export const RESOURCE_EXHAUSTED = 8;

/** No room for another volume on this node: waiting does not help the pod, another node may. */
export class AttachLimitError extends Error {
  override readonly name = 'AttachLimitError';
}

/** The attach limit among the causes of an error, if it is one of them. */
export function findAttachLimit(error: unknown): AttachLimitError | undefined {
  if (error instanceof AttachLimitError) return error;
  if (!(error instanceof Error)) return undefined;
  const causes = [error.cause, ...(error instanceof AggregateError ? error.errors : [])];
  return causes.map(findAttachLimit).find((found) => found !== undefined);
}
