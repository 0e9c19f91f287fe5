import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createSerial } from '../../../src/runtime/serial.ts';
import { type PodAllocations, parseCheckpoint, renderCheckpoint } from './checkpoint.ts';
import type { PodAllocation } from './pod-allocation.ts';

/** One file of allocations below the agent's root directory. */
export interface CheckpointFile {
  /** Empty when there is no file. A corrupt one is set aside, and that is thrown: the next start does without it. */
  load(): Promise<Map<string, PodAllocation>>;
  /** Resolves when what is there now is on the disk; several asked for at once are one write. */
  save(allocations: PodAllocations): Promise<void>;
}

export function openCheckpointFile(path: string): CheckpointFile {
  const oneAtATime = createSerial();
  let written: string | undefined;
  let waiting: Promise<void> | undefined;

  async function write(text: string): Promise<void> {
    if (text === written) return;
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o750 });
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(text);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw new Error(`cannot write the checkpoint ${path}: ${(error as Error).message}`, { cause: error });
    }
    written = text;
  }

  return {
    async load() {
      const text = await readFile(path, 'utf8').catch((error) => {
        if (error.code === 'ENOENT') return undefined;
        throw new Error(`cannot read the checkpoint ${path}: ${error.message}`, { cause: error });
      });
      if (text === undefined) return new Map();
      try {
        const allocations = parseCheckpoint(text);
        written = text;
        return allocations;
      } catch (error) {
        const aside = `${path}.corrupt-${new Date().toISOString().replaceAll(':', '')}`;
        await rename(path, aside);
        throw new Error(
          `the checkpoint ${path} cannot be used: ${(error as Error).message}. It is kept as ${aside}; ` +
            'drain this node if pods on it were being resized, then start the agent again: it takes what the pods ask for now',
          { cause: error },
        );
      }
    },
    save(allocations) {
      waiting ??= oneAtATime(() => {
        waiting = undefined;
        return write(renderCheckpoint(allocations));
      });
      return waiting;
    },
  };
}
