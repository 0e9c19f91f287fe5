import type { RunOptions, RunResult } from '../linux/exec.ts';
import { runInSlices } from '../runtime/slices.ts';
import { type IpFamily, parseIptablesSaveSteps, type SavedTables, type TableName } from './tables.ts';
import { type IptablesTransaction, renderSection, type TableChanges } from './transaction.ts';
import { explainLock } from './xtables-lock.ts';

/** The exec door of src/linux, as this adapter needs it. */
export type Run = (program: string, args: readonly string[], options?: RunOptions) => Promise<RunResult>;

/** iptables of one IP family. */
export interface Iptables {
  readonly family: IpFamily;
  /** All chains and rules of one table, or of every table that exists. */
  save(table?: TableName, signal?: AbortSignal): Promise<SavedTables>;
  /**
   * Applies changes without touching other chains, in one run of the program; each entry is a transaction of its own. Without any change no
   * program is started. Entries may come one by one, while the program works on those before.
   * @returns whether there was something to write
   * @throws LockedError that names who holds the xtables lock; ExecError with what iptables-restore said: the table that it names is unchanged,
   * and what comes after it is not written.
   */
  restore(changes: IptablesTransaction | AsyncIterable<TableChanges>, signal?: AbortSignal): Promise<boolean>;
  /** Which of the kernel's two interfaces the programs use. */
  variant(signal?: AbortSignal): Promise<'nft' | 'legacy'>;
  /** Whether a chain exists; reads that chain only. */
  chainExists(table: TableName, chain: string, signal?: AbortSignal): Promise<boolean>;
  /** Whether MASQUERADE takes `--random-fully` (iptables ≥ 1.6.2). */
  hasRandomFully(signal?: AbortSignal): Promise<boolean>;
}

export interface IptablesOptions {
  family: IpFamily;
  run: Run;
  /** How long to wait for the xtables lock (legacy backend), and the program in all. Defaults 5 s and 3 minutes: 45,000 services. */
  lockWaitSeconds?: number;
  timeoutMs?: number;
  /** Path of the network namespace to work in; the process's own unless given. */
  netns?: string;
}

/** iptables through the system's own programs; whether they are the nft or the legacy kind is the system's choice. */
export function createIptables(options: IptablesOptions): Iptables {
  const prefix = options.family === 'IPv6' ? 'ip6tables' : 'iptables';
  const wait = ['-w', String(options.lockWaitSeconds ?? 5)];
  const run = async (program: string, args: string[], rest: RunOptions) => {
    try {
      return await options.run(program, args, {
        timeoutMs: options.timeoutMs ?? 180_000,
        netns: options.netns,
        ...rest,
      });
    } catch (error) {
      throw explainLock(error);
    }
  };
  let versionText: Promise<string> | undefined;
  /** `iptables v1.8.9 (nf_tables)`; asked once, and again after a failure. */
  const version = (signal?: AbortSignal) => {
    versionText ??= run(prefix, ['--version'], { signal }).then(({ stdout }) => stdout);
    versionText.catch(() => {
      versionText = undefined;
    });
    return versionText;
  };
  return {
    family: options.family,
    async save(table, signal) {
      const { stdout } = await run(`${prefix}-save`, table ? ['-t', table] : [], { signal });
      return await runInSlices(parseIptablesSaveSteps(stdout), signal);
    },
    async restore(changes, signal) {
      const texts = renderSections(changes);
      const first = await texts.next();
      if (first.done) return false;
      await run(`${prefix}-restore`, [...wait, '--noflush', '--counters'], {
        input: startingWith(first.value, texts),
        signal,
      });
      return true;
    },
    async chainExists(table, chain, signal) {
      // Exit 1 is "no such chain"; 4 would be a busy lock or a kernel that answers nothing, which must not look like an absent chain.
      const { code } = await run(prefix, [...wait, '-t', table, '-S', chain], { signal, okCodes: [0, 1] });
      return code === 0;
    },
    hasRandomFully(signal) {
      return version(signal).then((text) => isAtLeast(text, [1, 6, 2]));
    },
    variant(signal) {
      return version(signal).then((text) => (text.includes('nf_tables') ? 'nft' : 'legacy'));
    },
  };
}

async function* renderSections(
  changes: IptablesTransaction | AsyncIterable<TableChanges>,
): AsyncGenerator<string, void> {
  for await (const section of changes) {
    const text = renderSection(section);
    if (text) yield text;
  }
}

async function* startingWith(first: string, rest: AsyncIterable<string>): AsyncGenerator<string, void> {
  yield first;
  yield* rest;
}

function isAtLeast(versionText: string, least: readonly number[]): boolean {
  const version = /v(\d+)\.(\d+)\.(\d+)/.exec(versionText)?.slice(1).map(Number);
  if (!version) return false;
  for (const [index, part] of least.entries()) if (version[index] !== part) return version[index]! > part;
  return true;
}
