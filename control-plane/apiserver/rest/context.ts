import type { UserInfo } from '../../../src/auth/user.ts';
import type { StrategyContext } from '../definition.ts';
import type { Exchange } from '../exchange.ts';
import { badRequest } from '../status-error.ts';
import type { Api } from './api.ts';

/** What strategies see of a request. */
export function strategyContext(api: Api, exchange: Exchange, user: UserInfo): StrategyContext {
  return { user, nowMs: api.clock.nowMs(), objects: api.objects, warn: (text) => exchange.warn(text) };
}

/** A dry run that stored something would be worse than none. */
export function refuseDryRun(dryRun: string | readonly string[] | null | undefined): void {
  if (!dryRun || dryRun.length === 0) return;
  throw badRequest(`dryRun=${String(dryRun)} is not supported by this server; nothing was changed`);
}
