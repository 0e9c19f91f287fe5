import { readFileSync } from 'node:fs';
import { run as runProgram } from '../../src/linux/exec.ts';
import { netnsId } from '../../src/linux/netns.ts';
import { readTableSkeleton, removeEmptyTables } from '../../src/netfilter/empty-tables.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { openHostRecord } from './host-record.ts';
import { createSysctlKeeper, type SysctlKeeper } from './sysctl-keeper.ts';

/** The host before the first change of a program that writes rules and sysctls only (a proxy of its own). */
export interface HostState {
  /** Remembers the host as it is, unless it is remembered already. Before the first change. */
  record(signal?: AbortSignal): Promise<void>;
  /** Writes through it can be undone. */
  sysctls: Pick<SysctlKeeper, 'read' | 'write'>;
  /** Sysctls back as they were; tables that were not there and hold nothing go. After the rules are removed; idempotent. */
  restore(): Promise<void>;
}

export function openHostState(options: { stateFile: string }): HostState {
  const identity = {
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    netns: netnsId('/proc/self/ns/net') ?? '',
  };
  const file = openHostRecord(options.stateFile, identity);
  const nft = createNft({ run: runProgram });
  const keeper = createSysctlKeeper({ file, run: runProgram, netns: undefined });
  return {
    async record(signal) {
      if (file.read()) return;
      file.write({
        ...identity,
        sysctls: {},
        tables: await readTableSkeleton(nft, signal),
        bridgeAddresses: null,
        modules: [],
      });
    },
    sysctls: keeper,
    async restore() {
      const record = file.read();
      if (!record) return;
      await runAll('restore the host', [() => keeper.restore(), () => removeEmptyTables(nft, record.tables)]);
      file.remove();
    },
  };
}
