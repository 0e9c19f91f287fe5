import pino from 'pino';
import { ExplainedError } from './explained-error.ts';

export type Logger = pino.Logger;

/**
 * The root logger. JSON on stderr (systemd's journal and log files), pretty on a terminal.
 * Lines are keyed: `log.info({ pod: 'ns/name' }, 'message')`.
 */
export function createLogger(options: { level?: string; pretty?: boolean; name?: string } = {}): Logger {
  const base = {
    level: options.level ?? 'info',
    base: options.name ? { component: options.name } : null,
    serializers: { err: serializeError },
  };
  const format = {
    ...base,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (!options.pretty) return pino(format, pino.destination({ fd: 2, sync: true }));
  return pino({
    ...base,
    transport: {
      target: 'pino-pretty',
      options: { destination: 2, ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' },
    },
  });
}

/** A stack leads to the place of a surprise; beside words that a server or we have chosen it only hides them. */
export function serializeError(error: unknown): unknown {
  if (error instanceof ExplainedError) return { message: error.message };
  if (error instanceof Error && error.name === 'ApiError') {
    const { code, reason } = error as Error & { code?: number; reason?: string };
    return { type: error.name, code, reason, message: error.message };
  }
  return pino.stdSerializers.err(error as Error);
}

/** A logger that writes nothing; for tests. */
export const silentLogger: Logger = pino({ level: 'silent' });
