import type { RunOptions, RunResult } from '../linux/exec.ts';
import { runInSlices } from '../runtime/slices.ts';
import { type IpFamily, parseIptablesSaveSteps, type SavedTables, type TableName } from './tables.ts';
import { type IptablesTransaction, isEmptyTransaction, renderTransaction } from './transaction.ts';

/** The exec door of src/linux, as this adapter needs it. */
export type Run = (program: string, args: readonly string[], options?: RunOptions) => Promise<RunResult>;

/** iptables of one IP family. */
export interface Iptables {
  readonly family: IpFamily;
  /** All chains and rules of one table, or of every table that exists. */
  save(table?: TableName, signal?: AbortSignal): Promise<SavedTables>;
  /**
   * Applies a transaction without touching other chains. An empty one starts no program.
   * @throws ExecError with what iptables-restore said; the table that it names is unchanged, and so are those after it.
   */
  restore(transaction: IptablesTransaction, signal?: AbortSignal): Promise<void>;
  /** Whether a chain exists; reads that chain only. */
  chainExists(table: TableName, chain: string, signal?: AbortSignal): Promise<boolean>;
  /** Whether MASQUERADE takes `--random-fully` (iptables ≥ 1.6.2). */
  hasRandomFully(signal?: AbortSignal): Promise<boolean>;
}

export interface IptablesOptions {
  family: IpFamily;
  run: Run;
  /** How long to wait for the xtables lock (legacy backend), and the program in all. Defaults 5 s and 60 s. */
  lockWaitSeconds?: number;
  timeoutMs?: number;
  /** Path of the network namespace to work in; the process's own unless given. */
  netns?: string;
}

/** iptables through the system's own programs; whether they are the nft or the legacy kind is the system's choice. */
export function createIptables(options: IptablesOptions): Iptables {
  const prefix = options.family === 'IPv6' ? 'ip6tables' : 'iptables';
  const wait = ['-w', String(options.lockWaitSeconds ?? 5)];
  const run = (program: string, args: string[], rest: RunOptions) =>
    options.run(program, args, { timeoutMs: options.timeoutMs ?? 60_000, netns: options.netns, ...rest });
  let randomFully: Promise<boolean> | undefined;
  return {
    family: options.family,
    async save(table, signal) {
      const { stdout } = await run(`${prefix}-save`, table ? ['-t', table] : [], { signal });
      return await runInSlices(parseIptablesSaveSteps(stdout), signal);
    },
    async restore(transaction, signal) {
      if (isEmptyTransaction(transaction)) return;
      await run(`${prefix}-restore`, [...wait, '--noflush', '--counters'], {
        input: renderTransaction(transaction),
        signal,
      });
    },
    async chainExists(table, chain, signal) {
      // Exit 1 is "no such chain"; 4 would be a busy lock or a kernel that answers nothing, which must not look like an absent chain.
      const { code } = await run(prefix, [...wait, '-t', table, '-S', chain], { signal, okCodes: [0, 1] });
      return code === 0;
    },
    hasRandomFully(signal) {
      randomFully ??= run(prefix, ['--version'], { signal }).then(({ stdout }) => isAtLeast(stdout, [1, 6, 2]));
      return randomFully;
    },
  };
}

function isAtLeast(versionText: string, least: readonly number[]): boolean {
  const version = /v(\d+)\.(\d+)\.(\d+)/.exec(versionText)?.slice(1).map(Number);
  if (!version) return false;
  for (const [index, part] of least.entries()) if (version[index] !== part) return version[index]! > part;
  return true;
}
