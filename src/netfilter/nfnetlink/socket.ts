import { closeSync } from 'node:fs';
import { errnoName, netlinkSocket, send, sendOnThread, setSocketOption } from '../../linux/libc.ts';
import { readI32 } from '../../linux/netlink/attributes.ts';
import { NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from '../../linux/netlink/constants.ts';
import { receiveDatagram } from '../../linux/netlink/request-channel.ts';
import { isNetlinkError, NetlinkError } from '../../linux/netlink/socket.ts';
import { inNetns } from '../../linux/netns.ts';
import { untilTurnAllows } from '../../runtime/turn.ts';
import type { Transaction } from './batch.ts';
import {
  type Message,
  MessageWriter,
  messageType,
  NETLINK_NETFILTER,
  NFNL_SUBSYS_NFTABLES,
  readMessages,
} from './message.ts';
import { NFT_MSG_GETGEN } from './nf-tables.ts';

/** nf_tables of one network namespace. Requests are carried out one after the other. */
export interface NftSocket {
  /**
   * Carries out a transaction on a pool thread: the kernel works on the sender's time, a second and more for 250,000 elements.
   * @throws NetlinkError that names the change which was refused; then nothing has changed. ERESTART: the ruleset is not of the generation named.
   */
  commit(transaction: Transaction): Promise<void>;
  /** The bodies of all messages of a dump. `attributes` narrow it (the table, the set). @throws NetlinkError, ENOENT when there is no such table */
  dump(
    operation: string,
    message: number,
    family: number,
    attributes?: (writer: MessageWriter) => void,
  ): Promise<Buffer[]>;
  /** The body of the one answer to a request; undefined when there is no such thing (ENOENT). */
  get(
    operation: string,
    message: number,
    family: number,
    attributes: (writer: MessageWriter) => void,
  ): Promise<Buffer | undefined>;
  /** The ruleset's generation: every transaction on any table makes a new one. And the port id that our own changes carry. */
  generation(): Promise<{ id: number; portId: number }>;
  close(): void;
}

const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
/** A transaction that fails may fail in every message; more errors than this are lost, which the first ones don't mind. */
const RECEIVE_BUFFER_BYTES = 4 << 20;
const DUMP_ATTEMPTS = 10;
/** A dump of 250,000 elements comes in some 600 pieces; after so long the event loop gets its turn. */
const SLICE_MS = 8;

/** Opens a socket in the network namespace at `netns` (the process's own unless given), where it stays. @throws SyscallError without the rights */
export function openNftSocket(netns?: string): NftSocket {
  const fd = inNetns<number>(netns, () => netlinkSocket(NETLINK_NETFILTER));
  let sendBufferBytes = 0;
  let isClosed = false;
  let tail: Promise<unknown> = Promise.resolve();
  setSocketOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1, 'NETLINK_CAP_ACK');
  setSocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES, 'SO_RCVBUFFORCE');

  /** One at a time, in the order of the calls. */
  function queued<T>(operation: string, work: () => Promise<T>): Promise<T> {
    const result = tail.then(() => {
      if (isClosed) throw new NetlinkError(operation, 'EBADF');
      return work();
    });
    tail = result.catch(() => {});
    return result;
  }

  /** A datagram is one piece in the kernel, and has to fit into the sending buffer. */
  function makeRoom({ length }: Buffer): void {
    drain();
    if (length + 4096 <= sendBufferBytes) return;
    sendBufferBytes = Math.max(length + 4096, 1 << 18);
    setSocketOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, sendBufferBytes, 'SO_SNDBUFFORCE');
  }

  /** All answers that have come: nf_tables answers within the send. */
  function drain(): Message[] {
    const messages: Message[] = [];
    for (;;) {
      const datagram = receiveDatagram(fd);
      if (!datagram) return messages;
      messages.push(...readMessages(datagram));
    }
  }

  /** Of what only reads: the kernel waits for nobody, and answers a dump piece by piece. */
  async function ask(bytes: Buffer, operation: string): Promise<void> {
    await untilTurnAllows();
    makeRoom(bytes);
    send(fd, bytes, operation);
  }

  async function commitOnce({ bytes, operations }: Transaction): Promise<void> {
    const last = operations.length - 2;
    makeRoom(bytes);
    await sendOnThread(fd, bytes, operations[0]!);
    let isAcknowledged = false;
    for (const { type, sequence, body } of drain()) {
      if (type !== NLMSG_ERROR) continue;
      const errno = -readI32(body);
      if (errno !== 0) throw new NetlinkError(operations[sequence] ?? `message ${sequence}`, errnoName(errno));
      if (sequence === last) isAcknowledged = true;
    }
    if (!isAcknowledged) throw new NetlinkError(operations[last]!, 'ENOBUFS');
  }

  async function getOnce(
    operation: string,
    message: number,
    family: number,
    attributes?: (writer: MessageWriter) => void,
  ): Promise<Message | undefined> {
    const writer = new MessageWriter(512);
    writer.begin(messageType(NFNL_SUBSYS_NFTABLES, message), NLM_F_REQUEST, 1, family);
    attributes?.(writer);
    writer.end();
    await ask(writer.finish(), operation);
    const [answer] = drain();
    if (answer && answer.type !== NLMSG_ERROR) return answer;
    const code = answer ? errnoName(-readI32(answer.body)) : 'ENOBUFS';
    if (code === 'ENOENT') return undefined;
    throw new NetlinkError(operation, code);
  }

  async function dumpOnce(bytes: Buffer, operation: string): Promise<Buffer[]> {
    await ask(bytes, operation);
    const bodies: Buffer[] = [];
    let isInterrupted = false;
    let sliceEndMs = performance.now() + SLICE_MS;
    for (;;) {
      const datagram = receiveDatagram(fd);
      if (!datagram) throw new NetlinkError(operation, 'ENOBUFS');
      for (const { type, flags, body } of readMessages(datagram)) {
        if (flags & NLM_F_DUMP_INTR) isInterrupted = true;
        if (type === NLMSG_ERROR || type === NLMSG_DONE) {
          const errno = body.length >= 4 ? -readI32(body) : 0;
          if (errno > 0) throw new NetlinkError(operation, errnoName(errno));
          if (isInterrupted) throw new NetlinkError(operation, 'EINTR');
          return bodies;
        }
        bodies.push(body);
      }
      if (performance.now() < sliceEndMs) continue;
      await new Promise((resolve) => setImmediate(resolve));
      sliceEndMs = performance.now() + SLICE_MS;
    }
  }

  return {
    commit: (transaction) => queued('commit', () => commitOnce(transaction)),
    dump: (operation, message, family, attributes) =>
      queued(operation, async () => {
        const writer = new MessageWriter(512);
        writer.begin(messageType(NFNL_SUBSYS_NFTABLES, message), NLM_F_REQUEST | NLM_F_DUMP, 1, family);
        attributes?.(writer);
        writer.end();
        for (let attempt = 1; ; attempt++)
          try {
            return await dumpOnce(writer.finish(), operation);
          } catch (error) {
            // Somebody changed a table meanwhile; what came before and after may not belong together.
            if (attempt >= DUMP_ATTEMPTS || !isNetlinkError(error, 'EINTR', 'ENOBUFS')) throw error;
          }
      }),
    get: (operation, message, family, attributes) =>
      queued(operation, async () => (await getOnce(operation, message, family, attributes))?.body),
    generation: () =>
      queued('get the generation', async () => {
        const answer = await getOnce('get the generation', NFT_MSG_GETGEN, 0);
        // nfgenmsg, the attribute's header, the number.
        if (answer) return { id: answer.body.readUInt32BE(8), portId: answer.portId };
        throw new NetlinkError('get the generation', 'ENOENT');
      }),
    close() {
      if (isClosed) return;
      isClosed = true;
      // Not under a send that is on its way.
      void tail.then(() => closeSync(fd));
    },
  };
}
