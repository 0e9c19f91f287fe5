import type { HealthMetrics } from '../../src/runtime/health-metrics.ts';
import type { Exchange } from './exchange.ts';

/** One named condition of /livez, /readyz and /healthz. */
export interface HealthCheck {
  readonly name: string;
  /** Undefined when well; else what is wrong, for the log and ?verbose. */
  check(): string | undefined | Promise<string | undefined>;
}

/** Answers /healthz, /livez, /readyz, each with /NAME, ?verbose and ?exclude=. True when the path was one of these. */
export async function handleHealth(
  exchange: Exchange,
  checks: readonly HealthCheck[],
  slis: HealthMetrics,
): Promise<boolean> {
  const [, endpoint, name, ...more] = exchange.path.split('/');
  if (endpoint !== 'healthz' && endpoint !== 'livez' && endpoint !== 'readyz') return false;
  if (more.length > 0) return false;
  const excluded = new Set(exchange.query.getAll('exclude'));
  const chosen = checks.filter((check) => (name ? check.name === name : !excluded.has(check.name)));
  if (name && chosen.length === 0) return false;
  const results = await Promise.all(chosen.map(async (check) => ({ name: check.name, problem: await check.check() })));
  for (const result of results) slis.checked(result.name, endpoint, result.problem === undefined);
  const failed = results.filter((result) => result.problem !== undefined);
  const lines = results.map(({ name: checkName, problem }) =>
    problem === undefined ? `[+]${checkName} ok` : `[-]${checkName} failed: reason withheld`,
  );
  if (failed.length > 0) {
    const text = `${lines.join('\n')}\n${endpoint} check failed\n`;
    await exchange.send(500, text, 'text/plain; charset=utf-8');
  } else if (exchange.query.has('verbose')) {
    await exchange.send(200, `${lines.join('\n')}\n${endpoint} check passed\n`, 'text/plain; charset=utf-8');
  } else await exchange.send(200, 'ok', 'text/plain; charset=utf-8');
  return true;
}
