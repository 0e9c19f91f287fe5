import type { Readable, Writable } from 'node:stream';
import type { Status } from '../../kube/types.ts';

/** What of a command's input and output the client asked for (`input`, `output`, `error`, `tty` of the query). */
export interface CommandRequest {
  stdin: boolean;
  stdout: boolean;
  /** Never together with a terminal, which has one output. */
  stderr: boolean;
  tty: boolean;
}

export interface TerminalSize {
  width: number;
  height: number;
}

/** A client's side of exec and attach, whatever protocol carries it. */
export interface CommandStreams {
  /** Ends when the client closes its half; the command goes on. */
  stdin?: Readable;
  stdout?: Writable;
  stderr?: Writable;
  /** Called with each size that the client's terminal takes; the last one before is not lost. */
  onResize(handler: (size: TerminalSize) => void): void;
  /** Tells how the command ended, after all of its output, and ends the connection. */
  finish(status: Status): Promise<void>;
  /** Aborts when the client is gone. */
  gone: AbortSignal;
}

/** Success, as clients want to hear it. */
export const SUCCESS: Status = { metadata: {}, status: 'Success' };

/** How `kubectl exec` learns the exit code (upstream's remotecommand constants). */
export function exitStatus(exitCode: number): Status {
  if (exitCode === 0) return SUCCESS;
  return {
    metadata: {},
    status: 'Failure',
    message: `command terminated with non-zero exit code: exit status ${exitCode}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(exitCode) }] },
    code: 500,
  };
}

/** Something other than the command failed. */
export function failureStatus(message: string): Status {
  return { metadata: {}, status: 'Failure', message, reason: 'InternalError', code: 500 };
}

/** Hands sizes on; what comes before there is a handler waits, the newest only. */
export function createResizes(): { push(text: string): void; onResize: CommandStreams['onResize'] } {
  let handler: ((size: TerminalSize) => void) | undefined;
  let waiting: TerminalSize | undefined;
  return {
    push(text) {
      const size = parseSize(text);
      if (!size) return;
      if (handler) handler(size);
      else waiting = size;
    },
    onResize(to) {
      handler = to;
      if (waiting) to(waiting);
      waiting = undefined;
    },
  };
}

/** `{"Width":80,"Height":24}`; undefined for anything else. */
function parseSize(text: string): TerminalSize | undefined {
  try {
    const { Width: width, Height: height } = JSON.parse(text) as { Width?: unknown; Height?: unknown };
    const isSide = (side: unknown): side is number =>
      Number.isInteger(side) && (side as number) > 0 && (side as number) < 65_536;
    return isSide(width) && isSide(height) ? { width, height } : undefined;
  } catch {
    return undefined;
  }
}
