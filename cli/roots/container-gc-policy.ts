import type { ContainerGcPolicy } from '../../agent/gc/container-plan.ts';
import { parseGoDurationMs } from '../../src/config/duration.ts';
import type { ContainerGcFlags } from '../commands/container-gc-flags.ts';
import { UserError } from '../output/failure.ts';

/** Throws UserError that names the flag. */
export function parseContainerGcPolicy(flags: ContainerGcFlags): ContainerGcPolicy {
  return {
    maximumPerContainer: integer('--maximum-dead-containers-per-container', flags.maximumDeadContainersPerContainer),
    maximumTotal: integer('--maximum-dead-containers', flags.maximumDeadContainers),
    minimumAgeMs: durationMs('--minimum-container-ttl-duration', flags.minimumContainerTtlDuration),
  };
}

function integer(flag: string, text: string): number {
  if (!/^-?\d{1,9}$/.test(text))
    throw new UserError(`${flag} ${text}: must be an integer such as 1, or -1 for any number`);
  return Number(text);
}

function durationMs(flag: string, text: string): number {
  const ms = parseGoDurationMs(text);
  if (ms === undefined || ms < 0) throw new UserError(`${flag} ${text}: must be a duration such as 0s or 10m`);
  return ms;
}
