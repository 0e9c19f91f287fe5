import { openPacketSocket, type PacketSocket } from '../../../src/linux/packet-socket.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { CLIENT_FILTER, CLIENT_PORT, parseDatagram, SERVER_PORT } from './datagram.ts';
import { type DhcpMessage, parseMessage } from './message.ts';
import type { Readiness } from './readiness.ts';

/** Where a client is: a link of a network namespace. */
export interface ClientLink {
  netns: string;
  index: number;
  name: string;
  /** 6 bytes. */
  hardwareAddress: Uint8Array;
  /** Several links have this hardware address (ipvlan): frames to an address that none of them has yet reach nobody. */
  sharesHardwareAddress: boolean;
}

/** One question and its answer over a link. */
export interface Exchange {
  readonly socket: PacketSocket;
  /**
   * Sends, and sends again after 1, 2, 4, … s, until `accept` makes something of an answer to `transaction`.
   * @returns undefined when `timeoutMs` is over. @throws SyscallError when the link goes down or away; the signal's reason.
   */
  ask<T>(question: {
    send(): void;
    transaction: number;
    accept(answer: DhcpMessage): T | undefined;
    timeoutMs: number;
    signal?: AbortSignal;
  }): Promise<T | undefined>;
  close(): void;
}

/** A server may be asked too early (the port of a bridge still learns) or be busy: the first repetition comes soon. */
const FIRST_RESEND_MS = 1000;

export function openExchange(link: ClientLink, deps: { clock: Clock; readiness: Readiness }): Exchange {
  const socket = openPacketSocket({ netns: link.netns, linkIndex: link.index, filter: CLIENT_FILTER });
  const { clock } = deps;

  function answers(transaction: number): DhcpMessage[] {
    const found: DhcpMessage[] = [];
    for (let packet = socket.receive(); packet; packet = socket.receive()) {
      const datagram = parseDatagram(packet);
      if (datagram?.destinationPort !== CLIENT_PORT || datagram.sourcePort !== SERVER_PORT) continue;
      const message = parseMessage(datagram.payload);
      if (message?.op !== 'reply' || message.transaction !== transaction) continue;
      if (Buffer.compare(message.hardwareAddress, link.hardwareAddress) === 0) found.push(message);
    }
    return found;
  }

  return {
    socket,
    ask({ send, transaction, accept, timeoutMs, signal }) {
      return new Promise((resolve, reject) => {
        const undo: (() => void)[] = [];
        const settle = (finish: () => void) => {
          for (const step of undo.splice(0)) step();
          finish();
        };
        const guarded = (work: () => void) => () => {
          try {
            work();
          } catch (error) {
            settle(() => reject(error));
          }
        };
        const fail = () => settle(() => reject(signal?.reason));
        if (signal?.aborted) return fail();
        signal?.addEventListener('abort', fail, { once: true });
        undo.push(() => signal?.removeEventListener('abort', fail));
        undo.push(clock.after(timeoutMs, () => settle(() => resolve(undefined))));
        undo.push(
          deps.readiness.watch(
            socket.fd,
            guarded(() => {
              for (const message of answers(transaction)) {
                const result = accept(message);
                if (result !== undefined) return settle(() => resolve(result));
              }
            }),
          ),
        );
        let waitMs = FIRST_RESEND_MS;
        let cancelResend = () => {};
        undo.push(() => cancelResend());
        const sendAndRepeat = guarded(() => {
          send();
          cancelResend = clock.after(waitMs, sendAndRepeat);
          waitMs *= 2;
        });
        sendAndRepeat();
      });
    },
    close: () => socket.close(),
  };
}
