import { readFileSync } from 'node:fs';

const CAP_SYS_RESOURCE = 24n;

/**
 * Whether this process (and so a Docker Engine beside it) may lower oom_score_adj below its own and raise rlimits.
 * Asked once at start; containers and some virtual machines lack it even as root.
 */
export function hasSysResource(statusFile = '/proc/self/status'): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync(statusFile, 'utf8'))?.[1];
  return mask !== undefined && (BigInt(`0x${mask}`) >> CAP_SYS_RESOURCE) % 2n === 1n;
}
