/** A body that is not the object that it should be: answer 400 BadRequest with this message. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}
