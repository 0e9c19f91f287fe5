import { type FSWatcher, watch } from 'node:fs';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type ConfigurationProblem, readConfigurationDirectory } from './configuration-directory.ts';
import { type CniMode, isMeantForPods } from './network-choice.ts';
import type { NetworkConfiguration } from './network-configuration.ts';

/** What the directory of configurations says now. */
export interface ConfigurationSource {
  current(): NetworkConfiguration | undefined;
  /** Files that were passed over, and why. */
  problems(): readonly ConfigurationProblem[];
  /** Follows the directory until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** A configuration is often written by several calls, a set of them by several renames: looked at when it is quiet. */
const DEBOUNCE_MS = 200;
/** For a directory that is not there yet, and for what no event tells. */
const POLL_MS = 5_000;
/** An add-on that is updated takes its file away and brings another. Until then its pods must not end up on the built-in network. */
const ABSENCE_GRACE_MS = 30_000;

/**
 * @param onChange told after each look that found something else
 */
export function createConfigurationSource(
  options: { directory: string; mode: Exclude<CniMode, 'builtin'> },
  deps: { clock: Clock; log: Logger; onChange(): void; onPassedOver(problem: string): void },
): ConfigurationSource & { /** It was there a moment ago: nothing takes its place yet. */ isAwaited(): boolean } {
  const { directory, mode } = options;
  const { clock, log } = deps;
  const isWanted = mode === 'auto' ? isMeantForPods : undefined;
  let content = readConfigurationDirectory(directory, isWanted);
  let goneSinceMs: number | undefined;
  const told = new Set<string>();
  tellProblems();

  /** Each once, until it says something else. */
  function tellProblems(): void {
    const now = content.problems.map(({ file, message }) => `${file}: ${message}`);
    const isPassedOver = content.configuration !== undefined || mode === 'auto';
    for (const problem of now.filter((one) => !told.has(one))) {
      log.warn({ problem }, 'network configuration cannot be used; the next file is tried');
      // Where nothing else is used, the node's condition says it.
      if (isPassedOver) deps.onPassedOver(problem);
    }
    told.clear();
    for (const problem of now) told.add(problem);
  }

  function look(): void {
    const before = content;
    content = readConfigurationDirectory(directory, isWanted);
    tellProblems();
    if (content.configuration) goneSinceMs = undefined;
    else if (before.configuration) goneSinceMs = clock.monotonicMs();
    const graceEnded = goneSinceMs !== undefined && clock.monotonicMs() - goneSinceMs >= ABSENCE_GRACE_MS;
    if (graceEnded) goneSinceMs = undefined;
    if (graceEnded || fingerprint(before) !== fingerprint(content)) deps.onChange();
  }

  return {
    current: () => content.configuration,
    problems: () => content.problems,
    isAwaited: () => goneSinceMs !== undefined,

    async run(signal) {
      let watcher: FSWatcher | undefined;
      let wake = () => {};
      const follow = () => {
        if (watcher) return;
        try {
          watcher = watch(directory, () => wake());
          watcher.on('error', unfollow);
        } catch {
          // Not there yet.
        }
      };
      const unfollow = () => {
        watcher?.close();
        watcher = undefined;
      };
      try {
        while (!signal.aborted) {
          // A directory that was removed and made again is another one.
          if (!content.configuration) unfollow();
          follow();
          const changed = Promise.withResolvers<boolean>();
          wake = () => changed.resolve(true);
          const cancel = clock.after(POLL_MS, () => changed.resolve(false));
          const onAbort = () => changed.resolve(false);
          signal.addEventListener('abort', onAbort, { once: true });
          const isEvent = await changed.promise;
          cancel();
          signal.removeEventListener('abort', onAbort);
          if (isEvent) await clock.sleep(DEBOUNCE_MS, signal).catch(() => {});
          if (!signal.aborted) look();
        }
      } finally {
        unfollow();
      }
    },
  };
}

const fingerprint = ({ configuration, problems }: ReturnType<typeof readConfigurationDirectory>) =>
  JSON.stringify([configuration?.file, configuration?.text, configuration?.plugins.length, problems]);
