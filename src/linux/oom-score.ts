import { writeFileSync } from 'node:fs';

/**
 * Sets how soon the kernel's OOM killer picks this process (−1000 never, 1000 first); what it starts from now on inherits it. False
 * where the kernel refuses: to go below what one was started with takes CAP_SYS_RESOURCE.
 */
export function setOwnOomScore(score: number, file = '/proc/self/oom_score_adj'): boolean {
  try {
    writeFileSync(file, String(score));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') return false;
    throw error;
  }
}
