import { ExecError } from '../../src/linux/exec.ts';
import { LockedError } from '../../src/netfilter/xtables-lock.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** What a caller is told of a failure. */
export interface ToldError {
  code: number;
  message: string;
  details: string | undefined;
}

/**
 * The code of an error that has one; of several (a DEL goes on after a failure) the one that all have, so that a runtime learns that it is to
 * try again later. What the kernel, the file system or a program refuse is an I/O failure. Pure.
 */
export function toldError(error: unknown): ToldError {
  if (error instanceof CniError) return { code: error.code, message: error.message, details: error.details };
  if (!(error instanceof Error)) return { code: CNI_ERROR.unknown, message: String(error), details: undefined };
  const { message } = error;
  if (error instanceof AggregateError) {
    const all = error.errors.map(toldError);
    const codes = new Set(all.map(({ code }) => code));
    const details = [...new Set(all.flatMap((one) => one.details ?? []))].join('; ');
    return { code: codes.size === 1 ? all[0]!.code : CNI_ERROR.unknown, message, details: details || undefined };
  }
  if (error instanceof LockedError) return { code: CNI_ERROR.tryAgainLater, message, details: undefined };
  const { code } = error as NodeJS.ErrnoException;
  // ERR_… are Node's for mistakes of a program.
  const isRefusal = error instanceof ExecError || /^E(?!RR_)/.test(code ?? '');
  return { code: isRefusal ? CNI_ERROR.ioFailure : CNI_ERROR.unknown, message, details: undefined };
}
