import { RawNetlinkSocket } from 'netlink';
import { readText } from '../../linux/netlink/attributes.ts';
import { inNetns } from '../../linux/netns.ts';
import { eachAttribute, NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, readMessages } from './message.ts';
import { NFNLGRP_NFTABLES, NFT_MSG_GETGEN, NFT_MSG_NEWGEN } from './nf-tables.ts';
import type { Family } from './rule.ts';
import { FAMILIES } from './rule-encoding.ts';

/** Tells of changes that others make to one table. */
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
  family: Family;
  table: string;
  netns?: string;
  /** Port id of the socket whose changes are our own. */
  ownPortId: number;
  /** Another socket has changed something of the table; or messages were lost, and nobody knows. */
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
  raw.on('message', (datagram) => {
    try {
      if (isListening && isForeign(datagram, options)) options.onChanged('changed');
    } catch {
      options.onChanged('lost');
    }
  });
  raw.on('error', () => options.onChanged('lost'));
  raw.on('truncatedMessage', () => options.onChanged('lost'));
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

/** Whether a datagram tells of a change to the table that another socket made. */
function isForeign(datagram: Buffer, { family, table, ownPortId }: NftMonitorOptions): boolean {
  const { protocol } = FAMILIES[family];
  for (const { type, portId, body } of readMessages(datagram)) {
    const message = type & 0xff;
    if (type >> 8 !== NFNL_SUBSYS_NFTABLES || message === NFT_MSG_NEWGEN || message === NFT_MSG_GETGEN) continue;
    if (portId === ownPortId || body[0] !== protocol) continue;
    // Whatever the message is about, its first attribute is the table's name.
    let name: string | undefined;
    eachAttribute(body, 4, (attribute, value) => {
      if (attribute === 1) name = readText(value);
    });
    if (name === table) return true;
  }
  return false;
}
