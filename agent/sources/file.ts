import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { readManifestFiles } from './manifest-files.ts';
import type { PodSource } from './source.ts';
import { createStaticPodSet, type ManifestProblems } from './static-set.ts';

export interface FileSourceOptions {
  /** `staticPodPath`: a directory, or one file. */
  path: string;
  nodeName: string;
  /** `fileCheckFrequency`, 20 s: the watch may lose events, this cannot. */
  rescanMs: number;
}

/** Editors write in several steps: read when they have finished. */
const SETTLE_MS = 100;

/** Pods from manifests on disk. A bad file is named, with its field, and the others still load. */
export function createFileSource(
  options: FileSourceOptions,
  deps: { clock: Clock; log: Logger; problems?: ManifestProblems | undefined },
): PodSource {
  const { clock, log } = deps;
  const path = options.path.replace(/(?<=.)\/+$/, '');
  const set = createStaticPodSet({ nodeName: options.nodeName, source: 'file', lists: false }, deps);

  return {
    name: 'file',
    async run(sink, signal) {
      let changed = false;
      let wake = () => {};
      let problem = '';
      const watcher = createPathWatcher(path, () => {
        changed = true;
        wake();
      });
      while (!signal.aborted) {
        changed = false;
        // Before the look, so that nothing changes unseen between the two.
        await watcher.ensure();
        try {
          sink.set(set.update(await readManifestFiles(path)));
          problem = '';
        } catch (error) {
          const { message } = error as Error;
          if (message !== problem) log.error({ path, err: error }, 'static pod manifests could not be read');
          problem = message;
        }
        const nap = new AbortController();
        const noticed = new Promise<void>((resolve) => {
          wake = resolve;
          if (changed) resolve();
        });
        const end = AbortSignal.any([signal, nap.signal]);
        await Promise.race([noticed, clock.sleep(options.rescanMs, end).catch(() => undefined)]);
        nap.abort();
        if (changed) await clock.sleep(SETTLE_MS, signal).catch(() => undefined);
      }
      watcher.close();
    },
  };
}

/** inotify on a directory, or on the one that holds the file: a file that is replaced by a rename is another inode. */
function createPathWatcher(path: string, onChange: () => void) {
  let watcher: FSWatcher | undefined;
  /** Device and inode of what is watched: one that was made anew under the same name needs a new watch. */
  let watched = '';
  const close = () => {
    watcher?.close();
    watcher = undefined;
    watched = '';
  };
  return {
    close,
    async ensure(): Promise<void> {
      const info = await stat(path).catch(() => undefined);
      const folder = info?.isDirectory() ? path : dirname(path);
      const at = info?.isDirectory() ? info : await stat(folder).catch(() => undefined);
      const identity = at ? `${folder} ${at.dev}:${at.ino}` : '';
      if (watcher && identity === watched) return;
      close();
      if (!at) return;
      try {
        watcher = watch(folder, (_, name) => {
          if (folder === path || name === null || name === basename(path)) onChange();
        });
        watcher.on('error', close);
        watched = identity;
      } catch {
        // It has just gone, or the host is out of watches: the rescan is there for that.
      }
    },
  };
}
