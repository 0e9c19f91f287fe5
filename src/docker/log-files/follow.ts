import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Clock } from '../../runtime/clock.ts';
import { closeAll, inodeOf, type LogFile, openNewer } from './chain.ts';

/** Looked at this often although nobody has told of a change: a directory that cannot be watched is followed all the same. */
const POLL_MS = 1_000;
/** A writer that never stops is read in pieces, not line by line. */
const GATHER_MS = 10;
/** So many files that are deleted already are held for a reader who is slower than the writer; they take room on the disk. */
const MOST_HELD = 16;

/** The files of a log as the Engine goes on from one to the next. */
export interface GrowingLog {
  /** Files that were begun since; oldest first. Each comes once. */
  take(): LogFile[];
  /** Looks for them now. */
  look(): Promise<void>;
  /** Resolves when something may have changed since the last call, or after a second. Never rejects. */
  changed(): Promise<void>;
  /** Something else has changed. */
  wake(): void;
  close(): Promise<void>;
}

/**
 * Watches the log's directory and opens each new file as soon as it is there, whatever the reader is at: from then on the Engine may
 * rename, compress and delete it. `onLost` is told when files have come and gone unseen, or are too many for a reader who does not read.
 */
export function watchLog(path: string, newest: LogFile, clock: Clock, onLost: (why: string) => void): GrowingLog {
  const found: LogFile[] = [];
  let last = newest;
  let isClosed = false;
  let isDirty = true;
  let wakeUp = () => {};
  const wake = () => {
    isDirty = true;
    wakeUp();
  };

  async function extend(): Promise<void> {
    if (isClosed || inodeOf(path) === last.inode) return;
    const { files, hasGap } = await openNewer(path, last);
    if (isClosed) return closeAll(files);
    if (hasGap) onLost('files were written and deleted faster than they could be opened');
    found.push(...files);
    last = files.at(-1) ?? last;
    if (found.length <= MOST_HELD) return;
    onLost('whoever reads is too slow');
    closeAll(found.splice(0, found.length - MOST_HELD));
  }

  /** One look at a time; those that are asked for meanwhile are one more. */
  let looking: Promise<void> = Promise.resolve();
  let isAskedFor = false;
  function look(): Promise<void> {
    if (!isAskedFor) {
      isAskedFor = true;
      looking = looking.then(() => {
        isAskedFor = false;
        // Without a file there is nothing to open: it comes, or the container has been removed.
        return extend().catch(() => {});
      });
    }
    return looking;
  }

  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(dirname(path), (event, name) => {
      if (event === 'rename' && name === basename(path)) void look();
      wake();
    });
    watcher.on('error', () => watcher?.close());
  } catch {
    // No watch is left, or the directory is gone: the poll goes on.
  }

  return {
    take: () => found.splice(0),
    look,
    async changed() {
      if (!isDirty)
        await new Promise<void>((resolve) => {
          const cancel = clock.after(POLL_MS, resolve);
          wakeUp = () => {
            cancel();
            resolve();
          };
        });
      await clock.sleep(GATHER_MS);
      isDirty = false;
    },
    wake,
    async close() {
      isClosed = true;
      watcher?.close();
      await looking;
      closeAll(found);
    },
  };
}
