import { formatMessage, parseMessages } from 'netlink/dist/structs.js';
import { isTurnSpent, whenTurnAllows } from '../../runtime/turn.ts';
import { errnoName } from '../libc.ts';
import { readI32 } from './attributes.ts';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from './constants.ts';
import { isNetlinkError, NetlinkError } from './errors.ts';
import { openRequestChannel } from './request-channel.ts';
import { sendSlow } from './slow-request.ts';

export { isNetlinkError, NetlinkError };

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
}

/** The kernel answers within the send itself; only a lost answer takes this long. */
const ANSWER_TIMEOUT_MS = 10_000;
const POLL_MS = 2;
/** A dump that the kernel marks as inconsistent (the table changed meanwhile) is taken again this often. */
const DUMP_ATTEMPTS = 5;

/**
 * A netlink socket of the given protocol that belongs to the network namespace at `netns` (default: ours) for good. Requests and their
 * answers are matched here; their encoding is the `netlink` package's.
 */
export function openNetlinkSocket(protocol: number, netns?: string): NetlinkSocket {
  const channel = openRequestChannel(protocol, netns);
  const pending = new Map<number, Pending>();
  let sequence = 0;
  let closed = false;
  let isAwaited = false;

  /** Takes the answers that are there, for as long as the turn has time. */
  function collect(): void {
    try {
      while (pending.size > 0) {
        const datagram = channel.receive();
        for (const message of datagram ? parseMessages(datagram) : []) receive(message);
        if (datagram && !isTurnSpent()) continue;
        collectLater(datagram ? setImmediate : (look) => setTimeout(look, POLL_MS));
        return;
      }
    } catch (error) {
      failAll((error as NodeJS.ErrnoException).code ?? 'EBADMSG');
    }
  }

  function collectLater(schedule: (look: () => void) => unknown): void {
    if (isAwaited || pending.size === 0) return;
    isAwaited = true;
    schedule(() => {
      isAwaited = false;
      collect();
    });
  }

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
    whenTurnAllows(() => {
      if (error) waiting.reject(error);
      else waiting.resolve(waiting.bodies);
    });
  }

  function failAll(code: string) {
    for (const [seq, { operation }] of pending) settle(seq, new NetlinkError(operation, code));
  }

  function requestOnce(what: NetlinkRequest): Promise<Buffer[]> {
    return requestTogether([what])[0]!;
  }

  function requestTogether(all: readonly NetlinkRequest[]): Promise<Buffer[]>[] {
    if (closed) return all.map(({ operation }) => Promise.reject(new NetlinkError(operation, 'EBADF')));
    const answers: Promise<Buffer[]>[] = [];
    const sequences: number[] = [];
    const parts: Uint8Array[] = [];
    for (const { operation, type, flags = 0, body, onBody } of all) {
      sequence = (sequence % 0x7fff_ffff) + 1;
      const { promise, resolve, reject } = Promise.withResolvers<Buffer[]>();
      pending.set(sequence, { operation, interrupted: false, bodies: [], onBody, resolve, reject });
      answers.push(promise);
      sequences.push(sequence);
      const allFlags = flags | NLM_F_REQUEST | (isDump(flags) ? 0 : NLM_F_ACK);
      parts.push(...formatMessage({ type, flags: allFlags, seq: sequence, port: 0, data: body }));
    }
    const failThese = (code: string) => {
      for (const seq of sequences) settle(seq, new NetlinkError(pending.get(seq)?.operation ?? '', code));
    };
    try {
      channel.send(Buffer.concat(parts));
    } catch (error) {
      failThese((error as NodeJS.ErrnoException).code ?? 'EIO');
    }
    collect();
    if (sequences.some((seq) => pending.has(seq))) {
      const timer = setTimeout(failThese, ANSWER_TIMEOUT_MS, 'ETIMEDOUT');
      Promise.allSettled(answers).then(() => clearTimeout(timer));
    }
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
      channel.close();
    },
  };
}

function isDump(flags = 0): boolean {
  return (flags & NLM_F_DUMP) === NLM_F_DUMP;
}
