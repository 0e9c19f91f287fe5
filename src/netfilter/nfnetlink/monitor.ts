import { readText } from '../../linux/netlink/attributes.ts';
import { listenOutsideNative } from '../../linux/netlink/raw-events.ts';
import { openRawSocket } from '../../linux/netlink/raw-socket.ts';
import { isBefore, nextGeneration } from './generation.ts';
import { eachAttribute, type Message, NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, readMessages } from './message.ts';
import { NFNLGRP_NFTABLES, NFT_MSG_GETGEN, NFT_MSG_NEWGEN } from './nf-tables.ts';
import type { Family } from './rule.ts';
import { FAMILIES } from './rule-encoding.ts';
import { openNftSocket } from './socket.ts';

/** Tells of changes that others make to tables. */
export interface NftMonitor {
  /**
   * Stops listening while we write much ourselves: for each element that anybody listens for the kernel makes a message
   * of 4 KiB, and 250,000 of them are a gigabyte. What others do meanwhile shows in the ruleset's generation.
   */
  pause(): void;
  resume(): void;
  close(): void;
}

export interface NftMonitorOptions {
  netns?: string;
  /** Whether a message of nf_tables tells of a change that is not to be. */
  isForeign(message: Message): boolean;
  /** There was such a change; or messages were lost, and nobody knows. */
  onChanged(why: 'changed' | 'lost'): void;
}

const RECEIVE_BUFFER_BYTES = 1 << 21;
/** The kernel counts some 4 KiB for each message that waits: fewer than these fit in any case. */
const SAFE_BURST = 100;
const WINDOW_MS = 500;

/**
 * Opens a listener. What the kernel had to drop for want of room is seen by the generations: each transaction tells its own, one more than
 * that before; and after a long burst, whose end may be what is missing, the kernel is asked for the last one.
 */
export function openNftMonitor(options: NftMonitorOptions): NftMonitor {
  const buffers = { recvBufferSize: RECEIVE_BUFFER_BYTES, sendBufferSize: 1 << 16 };
  const raw = openRawSocket(NETLINK_NETFILTER, buffers, options.netns);
  raw.unref();
  let isListening = false;
  let isClosed = false;
  let lastGeneration: number | undefined;
  let messagesOfWindow = 0;
  let windowEnd: NodeJS.Timeout | undefined;

  function look(datagram: Buffer): 'changed' | 'lost' | undefined {
    let why: 'changed' | 'lost' | undefined;
    for (const message of readMessages(datagram)) {
      if (message.type >> 8 !== NFNL_SUBSYS_NFTABLES) continue;
      if ((message.type & 0xff) === NFT_MSG_NEWGEN) {
        const generation = readGeneration(message);
        if (lastGeneration !== undefined && generation !== nextGeneration(lastGeneration)) why = 'lost';
        lastGeneration = generation;
      } else if (options.isForeign(message)) why ??= 'changed';
    }
    return why;
  }

  function endWindow(): void {
    const isLong = messagesOfWindow >= SAFE_BURST;
    messagesOfWindow = 0;
    windowEnd = undefined;
    if (isLong && isListening) askForTheEnd().catch(() => options.onChanged('lost'));
  }

  async function askForTheEnd(): Promise<void> {
    const socket = openNftSocket(options.netns);
    try {
      const { id } = await socket.generation();
      // What came meanwhile is handed over first.
      await new Promise((resolve) => setTimeout(resolve, WINDOW_MS).unref());
      if (isListening && lastGeneration !== undefined && isBefore(lastGeneration, id)) {
        lastGeneration = id;
        options.onChanged('lost');
      }
    } finally {
      socket.close();
    }
  }

  listenOutsideNative(raw, {
    message(datagram) {
      if (!isListening) return;
      messagesOfWindow++;
      windowEnd ??= setTimeout(endWindow, WINDOW_MS).unref();
      let why: 'changed' | 'lost' | undefined;
      try {
        why = look(datagram);
      } catch {
        why = 'lost';
      }
      if (why) options.onChanged(why);
    },
    failed: () => options.onChanged('lost'),
  });
  const monitor: NftMonitor = {
    pause() {
      if (!isListening || isClosed) return;
      isListening = false;
      lastGeneration = undefined;
      raw.dropMembership(NFNLGRP_NFTABLES);
    },
    resume() {
      if (isListening || isClosed) return;
      isListening = true;
      raw.addMembership(NFNLGRP_NFTABLES);
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      isListening = false;
      clearTimeout(windowEnd);
      raw.close();
    },
  };
  monitor.resume();
  return monitor;
}

/** NFTA_GEN_ID, which comes first: nfgenmsg, the attribute's header, the number. */
const readGeneration = ({ body }: Message) => body.readUInt32BE(8);

/** Tells the changes to one table that another socket than that of `ownPortId` made. */
export function changesToTable(
  family: Family,
  table: string,
  ownPortId: number,
): (message: Pick<Message, 'type' | 'portId' | 'body'>) => boolean {
  const { protocol } = FAMILIES[family];
  return ({ type, portId, body }) => {
    const message = type & 0xff;
    if (message === NFT_MSG_NEWGEN || message === NFT_MSG_GETGEN) return false;
    return portId !== ownPortId && body[0] === protocol && firstName(body) === table;
  };
}

/** Whatever a message is about, its first attribute is the table's name. */
function firstName(body: Buffer): string | undefined {
  let name: string | undefined;
  eachAttribute(body, 4, (attribute, value) => {
    if (attribute === 1) name = readText(value);
  });
  return name;
}
