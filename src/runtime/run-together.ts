import { ExplainedError } from './explained-error.ts';

/** A long-lived part of a program: lives until the signal aborts. */
export interface Runnable {
  run(signal: AbortSignal): Promise<void>;
}

/**
 * Runs all parts until the signal aborts. When one of them ends by an error, the others are told to stop and that error is thrown:
 * a node with a dead loop must not look alive; its supervisor starts it anew.
 */
export async function runTogether(parts: Record<string, Runnable>, signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const all = AbortSignal.any([signal, stop.signal]);
  let failure: Error | undefined;
  const runs = Object.entries(parts).map(async ([name, part]) => {
    try {
      await part.run(all);
      if (!all.aborted) throw new Error('it ended by itself');
    } catch (error) {
      if (all.aborted) return;
      // Words that say it all need no name of ours before them, and no stack behind.
      failure ??=
        error instanceof ExplainedError
          ? error
          : new Error(`${name} stopped: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      stop.abort(failure);
    }
  });
  await Promise.all(runs);
  if (failure) throw failure;
}
