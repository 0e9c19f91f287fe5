import { once } from 'node:events';
import type { KernelLog } from '../../src/linux/kernel-log.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

/** News for people: seconds of delay are nothing, a thread that waits in the kernel would be one of four. */
const LOOK_MS = 5_000;
/** Records read at a time, so that a full log holds nobody up. */
const SLICE = 200;

/** A process that the kernel has ended because the whole machine was out of memory. */
export interface SystemOom {
  process: string;
  pid: number;
}

/**
 * Reads the line that the kernel (4.19 and later) writes for each victim:
 * `oom-kill:constraint=…,global_oom,task_memcg=…,task=NAME,pid=N,uid=N`. One whose own cgroup was full says `oom_memcg=…` instead.
 */
export function parseSystemOom(message: string): SystemOom | undefined {
  const match = /^oom-kill:.*\bglobal_oom\b.*,task=(.*),pid=(\d+),uid=\d+$/.exec(message);
  return match ? { process: match[1]!, pid: Number(match[2]) } : undefined;
}

export interface SystemOomDeps {
  /** Throws where the kernel's log may not be read. */
  openLog(): KernelLog;
  onOom(oom: SystemOom): void;
  clock: Clock;
  log: Logger;
}

/** Tells of processes that end because the machine is out of memory, from now on. */
export function createSystemOomWatcher(deps: SystemOomDeps) {
  const { clock, log } = deps;
  return {
    async run(signal: AbortSignal): Promise<void> {
      let kernel: KernelLog;
      try {
        kernel = deps.openLog();
      } catch (error) {
        log.info({ err: error }, 'the log of the kernel cannot be read: no SystemOOM events');
        if (!signal.aborted) await once(signal, 'abort');
        return;
      }
      try {
        let isOld = true;
        while (!signal.aborted) {
          const messages = kernel.read(SLICE);
          if (!isOld)
            for (const message of messages) {
              const oom = parseSystemOom(message);
              if (oom) deps.onOom(oom);
            }
          if (messages.length < SLICE) isOld = false;
          await clock.sleep(messages.length < SLICE ? LOOK_MS : 0, signal).catch(() => {});
        }
      } finally {
        kernel.close();
      }
    },
  };
}
