import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** What CHECK finds. */
export function broken(what: string): CniError {
  return new CniError(CNI_ERROR.unknown, what);
}

/** The kernel's and the file system's refusals as code 5; what has a code stays. */
export function asCniError(error: unknown): unknown {
  if (error instanceof CniError || !(error instanceof Error)) return error;
  return new CniError(CNI_ERROR.ioFailure, error.message, { cause: error });
}

/** Of links: it was gone already. */
export function ignoreGone(error: unknown): void {
  if (!isNetlinkError(error, 'ENODEV')) throw error;
}
