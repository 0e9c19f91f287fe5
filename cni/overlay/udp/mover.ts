import { closeSync, existsSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { openPipe } from '../../../src/linux/pipe.ts';
import { encodeCommand, type MoverCommand, type MoverData } from './mover-protocol.ts';

/** The thread that moves packets, from this process's side. */
export interface Mover {
  /** In the order of the calls. */
  tell(commands: readonly MoverCommand[]): Promise<void>;
  /** Resolves when it was told to stop, rejects when it ended by itself (the device was deleted). Its descriptors are closed then. */
  readonly ended: Promise<void>;
  stop(): void;
}

/** A thread's own heap, which holds two system calls' worth of code and the peers. */
const HEAP_MEBIBYTES = 16;

/**
 * Starts the thread. Both descriptors are its own from now on, and closed at its end.
 * @param tun of the device. @param socket bound, for datagrams. @param port of the peers.
 */
export function startMover({ tun, socket, port }: Omit<MoverData, 'commands'>): Mover {
  const { readEnd, writeEnd } = openPipe();
  const data: MoverData = { tun, socket, port, commands: readEnd };
  const worker = new Worker(moverFile(), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MEBIBYTES, maxYoungGenerationSizeMb: 2 },
  });
  let isOver = false;
  let failure: Error | undefined;
  worker.on('error', (error) => {
    failure = error instanceof Error ? error : new Error(String(error));
  });
  const ended = new Promise<void>((resolve, reject) => {
    worker.on('exit', () => {
      isOver = true;
      for (const fd of [tun, socket, readEnd, writeEnd]) closeSync(fd);
      if (failure) reject(failure);
      else resolve();
    });
  });
  ended.catch(() => {});
  // Node waits for its threads before it ends, however it ends, and this one waits for packets or the end of the pipe.
  const release = () => closeSync(writeEnd);
  process.once('exit', release);
  worker.once('exit', () => process.removeListener('exit', release));

  async function tell(commands: readonly MoverCommand[]): Promise<void> {
    for (const command of commands) {
      const record = encodeCommand(command);
      while (!isOver && !isWritten(record)) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** false: the pipe is full. It takes thousands, and the thread empties it between two bursts of packets. */
  function isWritten(record: Buffer): boolean {
    try {
      return writeSync(writeEnd, record) > 0;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
      throw error;
    }
  }

  return { tell, ended, stop: () => void tell([{ kind: 'stop' }]) };
}

/** Beside this file where daemons run from their sources, and of another name beside the bundle (cli/bundle/build.ts). */
function moverFile(): URL {
  const source = new URL('./packet-mover.ts', import.meta.url);
  return existsSync(source) ? source : new URL('./berth-packet-mover.mjs', import.meta.url);
}
