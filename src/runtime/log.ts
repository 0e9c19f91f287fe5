import pino from 'pino';
import { ExplainedError } from './explained-error.ts';

export type Logger = pino.Logger;

/**
 * The root logger. JSON on stderr (systemd's journal and log files), pretty on a terminal.
 * Lines are keyed: `log.info({ pod: 'ns/name' }, 'message')`.
 */
export function createLogger(options: { level?: string; pretty?: boolean; name?: string } = {}): Logger {
  const family: Logger[] = [];
  const base = {
    level: options.level ?? 'info',
    base: options.name ? { component: options.name } : null,
    // A dozen, made when their parts are.
    onChild: (child: Logger) => void family.push(child),
    serializers: { err: serializeError },
  };
  const format = {
    ...base,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const root: Logger = options.pretty
    ? pino({
        ...base,
        transport: {
          target: 'pino-pretty',
          options: { destination: 2, ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' },
        },
      })
    : pino(format, pino.destination({ fd: 2, sync: true }));
  family.push(root);
  families.set(root, family);
  return root;
}

/** Each root with its children: a child keeps the level that its parent had when it was made. */
const families = new WeakMap<Logger, Logger[]>();

/** How much a root logger and all of its children tell from now on. */
export function setLogLevel(root: Logger, level: 'info' | 'debug' | 'trace'): void {
  for (const logger of families.get(root) ?? [root]) logger.level = level;
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
