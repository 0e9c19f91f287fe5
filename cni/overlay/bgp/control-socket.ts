import { connect, type Socket } from 'node:net';
import type { Clock } from '../../../src/runtime/clock.ts';

/** One line of BIRD's answer with its code: below 1000 done, 1000 and up data, 8000 and up refused, 9000 and up not understood. */
export interface BirdReply {
  code: number;
  text: string;
}

/** BIRD refused or did not understand. */
export class BirdError extends Error {
  override readonly name = 'BirdError';
}

/** A connection to a running BIRD, as birdc has one. */
export interface BirdControl {
  /** Such as `BIRD 2.0.12 ready.` */
  readonly greeting: string;
  /** One command after the other; their answers' lines. @throws BirdError with BIRD's words, an Error when it is gone. */
  ask(command: string): Promise<BirdReply[]>;
  /** Resolves when BIRD has ended or the connection was closed. */
  readonly closed: Promise<void>;
  close(): void;
}

const ANSWER_TIMEOUT_MS = 10_000;
/** `configure check` names the file and line. */
const FIRST_REFUSAL = 8000;

/** @throws ENOENT or ECONNREFUSED when no BIRD listens there. */
export async function openBirdControl(path: string, clock: Clock): Promise<BirdControl> {
  const socket = connect(path);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const read = createReader(socket, path, clock);
  let greeting: BirdReply[];
  try {
    greeting = await read();
  } catch (error) {
    socket.destroy();
    throw error;
  }
  // A daemon that ends is not kept alive by its view of BIRD.
  socket.unref();
  let last: Promise<unknown> = Promise.resolve();
  return {
    greeting: greeting[0]?.text ?? '',
    ask(command) {
      const answer = last.then(() => {
        const reply = read();
        socket.write(`${command}\n`);
        return reply;
      });
      last = answer.catch(() => {});
      return answer.then((lines) => {
        const refusal = lines.find(({ code }) => code >= FIRST_REFUSAL);
        if (refusal) throw new BirdError(`bird: ${command.split(' ')[0]}: ${refusal.text}`);
        return lines;
      });
    },
    closed,
    close: () => socket.destroy(),
  };
}

/** `1002-text` begins a piece of data, ` text` goes on with it, `0003 text` (a space) ends the answer. */
function createReader(socket: Socket, path: string, clock: Clock): () => Promise<BirdReply[]> {
  let rest = '';
  let lines: BirdReply[] = [];
  let waiting: { resolve(lines: BirdReply[]): void; reject(error: Error): void } | undefined;
  let failure: Error | undefined;
  const fail = (error: Error) => {
    failure ??= error;
    waiting?.reject(failure);
    waiting = undefined;
  };
  socket.setEncoding('utf8');
  socket.on('error', fail);
  socket.on('close', () => fail(new Error(`bird has closed ${path}`)));
  socket.on('data', (chunk: string) => {
    const pieces = (rest + chunk).split('\n');
    rest = pieces.pop() ?? '';
    for (const piece of pieces) {
      const coded = /^(\d{4})([ -])(.*)$/.exec(piece);
      lines.push(
        coded ? { code: Number(coded[1]), text: coded[3]! } : { code: lines.at(-1)?.code ?? 0, text: piece.slice(1) },
      );
      if (coded?.[2] !== ' ') continue;
      waiting?.resolve(lines);
      waiting = undefined;
      lines = [];
    }
  });
  return () => {
    if (failure) return Promise.reject(failure);
    return new Promise<BirdReply[]>((resolve, reject) => {
      const cancel = clock.after(ANSWER_TIMEOUT_MS, () => {
        fail(new Error(`bird gives no answer on ${path}`));
        socket.destroy();
      });
      waiting = {
        resolve(value) {
          cancel();
          resolve(value);
        },
        reject(error) {
          cancel();
          reject(error);
        },
      };
    });
  };
}
