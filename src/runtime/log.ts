import pino from 'pino';

export type Logger = pino.Logger;

/**
 * The root logger. JSON on stderr (systemd's journal and log files), pretty on a terminal.
 * Lines are keyed: `log.info({ pod: 'ns/name' }, 'message')`.
 */
export function createLogger(options: { level?: string; pretty?: boolean; name?: string } = {}): Logger {
  const base = { level: options.level ?? 'info', base: options.name ? { component: options.name } : null };
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

/** A logger that writes nothing; for tests. */
export const silentLogger: Logger = pino({ level: 'silent' });
