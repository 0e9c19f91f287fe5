import { CniError } from '../types.ts';

/** An error with the details and the code that its plugin gave, in one line for events and conditions. */
export function explain(error: unknown): string {
  if (!(error instanceof CniError)) return error instanceof Error ? error.message : String(error);
  const { message, details, code } = error;
  return `${message}${details ? `; ${details}` : ''} (CNI error ${code})`;
}
