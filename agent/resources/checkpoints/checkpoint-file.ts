import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';

/** A checkpoint that cannot be gone on from; the agent does not start. The message names the file, the reason and the way out. */
export class CheckpointError extends ExplainedError {}

/** A checkpoint whose text makes no sense. Thrown by parsers; the file is then put aside. */
export class CorruptCheckpointError extends Error {
  override readonly name = 'CorruptCheckpointError';
}

/**
 * Reads a checkpoint; undefined when there is none.
 *
 * A corrupt one is renamed to `<path>.corrupt-<time>`, so that nothing overwrites what could still be looked at, and the agent does not start this
 * time: whoever runs the node hears of it before its pods are placed anew.
 * @throws CheckpointError
 */
export async function loadCheckpoint<T>(
  path: string,
  parse: (text: string) => T,
  nowMs: () => number,
): Promise<T | undefined> {
  const text = await readFile(path, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw new CheckpointError(`cannot read the checkpoint ${path}: ${error.message}`, { cause: error });
  });
  if (text === undefined) return undefined;
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof CorruptCheckpointError)) throw error;
    const aside = `${path}.corrupt-${new Date(nowMs()).toISOString().replaceAll(/[-:.]/g, '')}`;
    await rename(path, aside).catch((cause) => {
      throw new CheckpointError(
        `the checkpoint ${path} is corrupt (${error.message}) and cannot be put aside: ${cause.message}`,
        { cause },
      );
    });
    throw new CheckpointError(
      `the checkpoint ${path} is corrupt: ${error.message}. It is kept as ${aside}. Repair it and move it back, or start again without it: pods that run are then placed anew`,
      { cause: error },
    );
  }
}

/** Parses JSON with the fields that all checkpoints have. @throws CorruptCheckpointError */
export function parseCheckpointJson(text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new CorruptCheckpointError(`it is not JSON: ${(error as Error).message}`, { cause: error });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new CorruptCheckpointError('it is not a JSON object');
  return parsed as Record<string, unknown>;
}

export interface CheckpointWriter {
  /** Writes the newest state; resolves when it is on disk. Calls that come together are written once. */
  save(): Promise<void>;
}

/** Writes a checkpoint whole or not at all (a file beside it, synced, then renamed), mode 0600. */
export function createCheckpointWriter(path: string, render: () => string): CheckpointWriter {
  let tail: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  return {
    save() {
      next ??= tail.then(async () => {
        next = undefined;
        await write(path, render());
      });
      tail = next.catch(() => {});
      return next;
    },
  };
}

async function write(path: string, text: string): Promise<void> {
  const beside = `${path}.new`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o750 });
    const file = await open(beside, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw new Error(`cannot write the checkpoint ${path}: ${(error as Error).message}`, { cause: error });
  }
}
