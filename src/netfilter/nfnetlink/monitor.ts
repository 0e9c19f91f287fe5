import { RawNetlinkSocket } from 'netlink';
import { readText } from '../../linux/netlink/attributes.ts';
import { listenOutsideNative } from '../../linux/netlink/raw-events.ts';
import { inNetns } from '../../linux/netns.ts';
import { eachAttribute, type Message, NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, readMessages } from './message.ts';
import { NFNLGRP_NFTABLES, NFT_MSG_GETGEN, NFT_MSG_NEWGEN } from './nf-tables.ts';
import type { Family } from './rule.ts';
import { FAMILIES } from './rule-encoding.ts';

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

export function openNftMonitor(options: NftMonitorOptions): NftMonitor {
  const raw = inNetns<RawNetlinkSocket>(
    options.netns,
    () => new RawNetlinkSocket(NETLINK_NETFILTER, { recvBufferSize: RECEIVE_BUFFER_BYTES, sendBufferSize: 1 << 16 }),
  );
  raw.unref();
  let isListening = false;
  let isClosed = false;
  listenOutsideNative(raw, {
    message(datagram) {
      if (!isListening) return;
      let why: 'changed' | 'lost' | undefined;
      try {
        if (hasForeign(datagram, options)) why = 'changed';
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
      raw.close();
    },
  };
  monitor.resume();
  return monitor;
}

function hasForeign(datagram: Buffer, { isForeign }: NftMonitorOptions): boolean {
  for (const message of readMessages(datagram))
    if (message.type >> 8 === NFNL_SUBSYS_NFTABLES && isForeign(message)) return true;
  return false;
}

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
