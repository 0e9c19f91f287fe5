import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { createLogger, type Logger } from '../../src/runtime/log.ts';

/** What every part of a program is handed: nothing below cli/ reads the environment or makes its own. */
export interface ProgramContext {
  log: Logger;
  clock: Clock;
}

export function createContext(options: { verbose?: boolean } = {}): ProgramContext {
  return {
    log: createLogger({ level: options.verbose ? 'debug' : 'info', pretty: process.stderr.isTTY === true }),
    clock: systemClock,
  };
}

/** Aborts on SIGTERM and SIGINT: the program then ends its loops in order. A second signal kills it as usual. */
export function abortOnSignals(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => controller.abort(new Error(`received ${name}`)));
  return controller.signal;
}
