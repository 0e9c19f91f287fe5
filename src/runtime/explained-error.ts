/** An error whose message says what, where, why and the way out, so that a person needs no stack with it. */
export class ExplainedError extends Error {
  override name = 'ExplainedError';
}
