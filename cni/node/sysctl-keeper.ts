import { ExecError, type run as execRun } from '../../src/linux/exec.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import type { HostRecordFile } from './host-record.ts';
import { readAffectedSysctls, readWrongSysctls, recordSysctls, restoreSysctls } from './node-sysctls.ts';

/** Sysctls of the host with a memory: whatever is written through it is recorded first and can be put back. */
export interface SysctlKeeper {
  read(key: string): string | undefined;
  /** Records the value before, and what the kernel changes along with it, then writes. Needs a host record. */
  write(key: string, value: string): void;
  /** The node's own settings; loads br_netfilter where it is a module. @returns what was changed. */
  ensure(families: readonly (4 | 6)[], signal?: AbortSignal): Promise<string[]>;
  restore(): void;
}

const BRIDGE_NETFILTER = 'net.bridge.bridge-nf-call-iptables';

export function createSysctlKeeper(options: {
  file: HostRecordFile;
  run: typeof execRun;
  netns: string | undefined;
}): SysctlKeeper {
  const { file, run, netns } = options;

  function write(key: string, value: string): void {
    const record = file.read();
    if (!record)
      throw new Error(`sysctl ${key}: the host's state has not been recorded yet, so it could not be restored`);
    const before = readAffectedSysctls([key], netns);
    // Before the change, so that a crash in between loses nothing; what the kernel made of it, right after.
    file.write(recordSysctls(record, before, new Map([[key, value]])));
    writeSysctl(key, value, { netns });
    file.write(recordSysctls(record, before, readAffectedSysctls([key], netns)));
  }

  async function ensureBridgeNetfilter(signal?: AbortSignal): Promise<void> {
    if (readSysctl(BRIDGE_NETFILTER, { netns }) !== undefined) return;
    let why = 'the module is loaded, but there is no such key';
    try {
      await run('modprobe', ['br_netfilter'], { signal });
    } catch (error) {
      signal?.throwIfAborted();
      why = error instanceof ExecError && error.stderr ? error.stderr : String((error as Error).message);
    }
    if (readSysctl(BRIDGE_NETFILTER, { netns }) === undefined)
      throw new Error(
        `the kernel has no ${BRIDGE_NETFILTER}, without which pods of one node bypass service rules: ` +
          `load it with \`modprobe br_netfilter\` (tried: ${why})`,
      );
    const record = file.read();
    if (record) file.write({ ...record, modules: [...new Set([...record.modules, 'br_netfilter'])] });
  }

  return {
    read: (key) => readSysctl(key, { netns }),
    write,
    async ensure(families, signal) {
      await ensureBridgeNetfilter(signal);
      const wrong = readWrongSysctls(families, netns);
      for (const [key, value] of wrong) write(key, value);
      return [...wrong].map(([key, value]) => `sysctl ${key}=${value}`);
    },
    restore() {
      const record = file.read();
      if (record) restoreSysctls(record.sysctls, netns);
    },
  };
}
