import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { LockedError } from '../../src/netfilter/xtables-lock.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** What CHECK finds. */
export function broken(what: string): CniError {
  return new CniError(CNI_ERROR.unknown, what);
}

/** The kernel's and the file system's refusals as code 5, a busy iptables as 11 (R10); what has a code stays. */
export function asCniError(error: unknown): unknown {
  if (error instanceof CniError || !(error instanceof Error)) return error;
  if (error instanceof LockedError) return new CniError(CNI_ERROR.tryAgainLater, error.message, { cause: error });
  return new CniError(CNI_ERROR.ioFailure, error.message, { cause: error });
}

/** Undoes what a failed ADD has made, then throws its error; what could not be undone is told along. */
export async function rollBack(error: unknown, steps: (() => unknown)[]): Promise<never> {
  try {
    await runAll('roll back', steps);
  } catch (cleanup) {
    // What failed at the beginning fails at the end: an address manager that is missing has nothing to give back.
    if (
      cleanup instanceof AggregateError &&
      cleanup.errors.every(({ message }) => message === (error as Error).message)
    )
      throw asCniError(error);
    const { code, details } = error instanceof CniError ? error : { code: CNI_ERROR.ioFailure, details: undefined };
    throw new CniError(code, `${(error as Error).message}; ${(cleanup as Error).message}`, { details, cause: error });
  }
  throw asCniError(error);
}

/** Of links: it was gone already. */
export function ignoreGone(error: unknown): void {
  if (!isNetlinkError(error, 'ENODEV')) throw error;
}
