import { parseMessages } from 'netlink/dist/structs.js';
import { NETLINK_ROUTE, RTM_DELLINK, RTM_NEWLINK } from './constants.ts';
import { decodeLink, type Link } from './links.ts';
import { listenOutsideNative } from './raw-events.ts';
import { openRawSocket } from './raw-socket.ts';

const RTNLGRP_LINK = 1;
const AF_UNSPEC = 0;
const RECEIVE_BUFFER_BYTES = 1 << 20;

/**
 * Tells of links that come, change and go. Every pod is two of them, so `onChange` must be cheap. A burst that does not fit is dropped in
 * silence (see `openRawSocket`): who must not miss one also looks from time to time.
 * @returns ends it.
 */
export function watchLinks(options: {
  netns?: string;
  onChange(kind: 'changed' | 'deleted', link: Link): void;
}): () => void {
  const buffers = { recvBufferSize: RECEIVE_BUFFER_BYTES, sendBufferSize: 1 << 12 };
  const raw = openRawSocket(NETLINK_ROUTE, buffers, options.netns);
  raw.unref();
  let closed = false;
  listenOutsideNative(raw, {
    message(datagram) {
      if (closed) return;
      for (const { type, data } of parseMessages(datagram)) {
        // Of family AF_BRIDGE are a port's settings: such a link has not come or gone.
        if ((type !== RTM_NEWLINK && type !== RTM_DELLINK) || data[0] !== AF_UNSPEC) continue;
        options.onChange(type === RTM_NEWLINK ? 'changed' : 'deleted', decodeLink(data));
      }
    },
    failed() {},
  });
  raw.addMembership(RTNLGRP_LINK);
  return () => {
    if (closed) return;
    closed = true;
    raw.close();
  };
}
