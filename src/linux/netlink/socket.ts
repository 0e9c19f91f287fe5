import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatMessage, parseMessages } from 'netlink/dist/structs.js';
import { errnoName, netlinkSocket, receiveNow, sendOnThread } from '../libc.ts';
import { inNetns } from '../netns.ts';
import { readI32 } from './attributes.ts';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from './constants.ts';
import { listenOutsideNative } from './raw-events.ts';
import { openRawSocket } from './raw-socket.ts';

/** The kernel said no. `code` is the errno's name (`EEXIST`, `ENODEV`, …), as in Node's own errors. */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError';
  readonly code: string;
  readonly operation: string;

  constructor(operation: string, code: string) {
    super(`netlink: ${operation}: ${code}`);
    this.operation = operation;
    this.code = code;
  }
}

/** Whether the error is a NetlinkError with one of these errno names. */
export function isNetlinkError(error: unknown, ...codes: string[]): error is NetlinkError {
  return error instanceof NetlinkError && codes.includes(error.code);
}

export interface NetlinkRequest {
  /** Named in errors: `add route 10.0.0.0/8`. */
  operation: string;
  type: number;
  /** Beside REQUEST and ACK. With NLM_F_DUMP the answer is many messages. */
  flags?: number;
  body: Uint8Array[];
  /** Gets the answer's messages as they come, instead of all in the end: of a large dump. A repeated dump starts over. */
  onBody?(body: Buffer): void;
}

export interface NetlinkSocket {
  /**
   * Sends at once, so changes made one after the other without awaiting are carried out in that order (dumps wait for each other).
   * Resolves with the bodies of the answer's messages (none for a plain acknowledgement).
   * @throws NetlinkError with the kernel's errno, or ENOBUFS, ETIMEDOUT, EBADF (closed meanwhile).
   */
  request(request: NetlinkRequest): Promise<Buffer[]>;
  /**
   * Several in one datagram, each with its own answer: the kernel carries all out within one call, so that no death of this process
   * comes between them. One that fails keeps none of the others from being done. None may be a dump.
   */
  requestTogether(requests: readonly NetlinkRequest[]): Promise<Buffer[]>[];
  /**
   * The same for a change that the kernel takes long for: it works on the sending thread, and deleting a link waits
   * some 20 ms for all CPUs to forget it. So a pool thread sends it, few such requests at a time in the process.
   * With `isDone` it resolves as soon as that tells so, on a socket of the same namespace, while the thread waits on: nobody sees the link
   * any more a millisecond after the request. A process that ends meanwhile does not take the request back.
   */
  requestSlow(request: NetlinkRequest, isDone?: (fd: number) => boolean): Promise<void>;
  /** Pending requests fail with EBADF. */
  close(): void;
}

interface Pending {
  operation: string;
  interrupted: boolean;
  bodies: Buffer[];
  onBody?(body: Buffer): void;
  resolve(bodies: Buffer[]): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/** The kernel answers within the send itself; only a lost answer takes this long. */
const ANSWER_TIMEOUT_MS = 10_000;
const RECEIVE_BUFFER_BYTES = 1 << 20;
const SEND_BUFFER_BYTES = 1 << 18;
/** A dump that the kernel marks as inconsistent (the table changed meanwhile) is taken again this often. */
const DUMP_ATTEMPTS = 5;

/**
 * A netlink socket of the given protocol that belongs to the network namespace at `netns` (default: ours) for good.
 * Transport is the `netlink` package; matching answers, acknowledgements and errors are done here, since the
 * package's own layer drops errno, the nested flag and dump interruptions.
 */
export function openNetlinkSocket(protocol: number, netns?: string): NetlinkSocket {
  const buffers = { recvBufferSize: RECEIVE_BUFFER_BYTES, sendBufferSize: SEND_BUFFER_BYTES };
  const raw = openRawSocket(protocol, buffers, netns);
  raw.unref();
  const { port } = raw.address();
  const pending = new Map<number, Pending>();
  let sequence = 0;
  let closed = false;

  listenOutsideNative(raw, {
    message(packet) {
      try {
        for (const message of parseMessages(packet)) receive(message);
      } catch {
        failAll('EBADMSG');
      }
    },
    failed: failAll,
  });

  function receive(message: { type: number; flags: number; seq: number; data: Buffer }) {
    const waiting = pending.get(message.seq);
    if (!waiting) return;
    if (message.flags & NLM_F_DUMP_INTR) waiting.interrupted = true;
    if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
      if (waiting.onBody) waiting.onBody(message.data);
      else waiting.bodies.push(message.data);
      return;
    }
    const errno = message.data.length >= 4 ? -readI32(message.data) : 0;
    if (errno > 0) settle(message.seq, new NetlinkError(waiting.operation, errnoName(errno)));
    else if (waiting.interrupted) settle(message.seq, new NetlinkError(waiting.operation, 'EINTR'));
    else settle(message.seq);
  }

  function settle(seq: number, error?: Error) {
    const waiting = pending.get(seq);
    if (!waiting) return;
    pending.delete(seq);
    clearTimeout(waiting.timer);
    if (pending.size === 0 && !closed) raw.unref();
    if (error) waiting.reject(error);
    else waiting.resolve(waiting.bodies);
  }

  function failAll(code: string) {
    for (const [seq, { operation }] of pending) settle(seq, new NetlinkError(operation, code));
  }

  function requestOnce(what: NetlinkRequest): Promise<Buffer[]> {
    return requestTogether([what])[0]!;
  }

  function requestTogether(all: readonly NetlinkRequest[]): Promise<Buffer[]>[] {
    const answers: Promise<Buffer[]>[] = [];
    const sequences: number[] = [];
    const message: Uint8Array[] = [];
    for (const { operation, type, flags = 0, body, onBody } of all) {
      if (closed) {
        answers.push(Promise.reject(new NetlinkError(operation, 'EBADF')));
        continue;
      }
      sequence = (sequence % 0x7fff_ffff) + 1;
      const seq = sequence;
      const { promise, resolve, reject } = Promise.withResolvers<Buffer[]>();
      const timer = setTimeout(() => settle(seq, new NetlinkError(operation, 'ETIMEDOUT')), ANSWER_TIMEOUT_MS);
      if (pending.size === 0) raw.ref();
      pending.set(seq, { operation, interrupted: false, bodies: [], onBody, resolve, reject, timer });
      answers.push(promise);
      sequences.push(seq);
      const allFlags = flags | NLM_F_REQUEST | (isDump(flags) ? 0 : NLM_F_ACK);
      message.push(...formatMessage({ type, flags: allFlags, seq, port, data: body }));
    }
    if (sequences.length > 0)
      raw.send(message, undefined, (error) => {
        if (!error) return;
        const code = (error as NodeJS.ErrnoException).code ?? error.message;
        for (const seq of sequences) settle(seq, new NetlinkError(pending.get(seq)?.operation ?? '', code));
      });
    return answers;
  }

  /** The kernel runs one dump per socket and answers EBUSY to a second; they queue here. */
  let dumpTail: Promise<unknown> = Promise.resolve();

  function request(what: NetlinkRequest): Promise<Buffer[]> {
    if (!isDump(what.flags)) return requestOnce(what);
    const result = dumpTail.then(() => dump(what));
    dumpTail = result.catch(() => {});
    return result;
  }

  async function dump(what: NetlinkRequest): Promise<Buffer[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await requestOnce(what);
      } catch (error) {
        if (attempt >= DUMP_ATTEMPTS || !isNetlinkError(error, 'EINTR', 'ENOBUFS')) throw error;
      }
    }
  }

  return {
    request,
    requestTogether,
    requestSlow: (what, isDone) =>
      closed ? Promise.reject(new NetlinkError(what.operation, 'EBADF')) : sendSlow({ protocol, netns, what, isDone }),
    close() {
      if (closed) return;
      closed = true;
      failAll('EBADF');
      raw.close();
    },
  };
}

const ANSWER_LIMIT_BYTES = 4096;
/** Of the four threads of Node's pool, which files need too. The kernel carries out what is sent together about as fast as one alone. */
const SLOW_AT_ONCE = 3;
const DONE_POLL_MS = 1;
let slowUnderWay = 0;
const slowWaiting: (() => void)[] = [];

interface SlowRequest {
  protocol: number;
  netns: string | undefined;
  what: NetlinkRequest;
  isDone: ((fd: number) => boolean) | undefined;
}

/** Takes a turn for as long as the thread is busy, which may be longer than the caller waits. */
async function sendSlow(slow: SlowRequest): Promise<void> {
  if (slowUnderWay >= SLOW_AT_ONCE) await new Promise<void>((resolve) => slowWaiting.push(resolve));
  else slowUnderWay++;
  const passOn = () => {
    const next = slowWaiting.shift();
    if (next) next();
    else slowUnderWay--;
  };
  let fd: number;
  try {
    fd = inNetns<number>(slow.netns, () => netlinkSocket(slow.protocol));
  } catch (error) {
    passOn();
    throw error;
  }
  const { isDone } = slow;
  // What was done before the request is none of its doing: the kernel's answer tells.
  const isTold = isDone !== undefined && !isDone(fd);
  let answered = false;
  const answer = sendOnThread(fd, encodeSlow(slow.what), slow.what.operation)
    .then(() => readAnswer(fd, slow.what.operation))
    .finally(() => {
      answered = true;
      closeSync(fd);
      passOn();
    });
  if (!isTold) return answer;
  const seenDone = (async () => {
    while (!answered && !isDone(fd)) await sleep(DONE_POLL_MS);
    if (answered) await answer;
  })();
  // Either may still fail when the other has told.
  for (const outcome of [answer, seenDone]) outcome.catch(() => {});
  return Promise.race([answer, seenDone]);
}

function encodeSlow({ type, flags = 0, body }: NetlinkRequest): Buffer {
  return Buffer.concat(formatMessage({ type, flags: flags | NLM_F_REQUEST | NLM_F_ACK, seq: 1, port: 0, data: body }));
}

function readAnswer(fd: number, operation: string): void {
  const answer = parseMessages(receiveNow(fd, ANSWER_LIMIT_BYTES, operation)).find((one) => one.type === NLMSG_ERROR);
  const errno = answer ? -readI32(answer.data) : 0;
  if (errno > 0) throw new NetlinkError(operation, errnoName(errno));
}

function isDump(flags = 0): boolean {
  return (flags & NLM_F_DUMP) === NLM_F_DUMP;
}
