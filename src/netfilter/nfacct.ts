import { readAttributes, text } from '../linux/netlink/attributes.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../linux/netlink/constants.ts';
import { isNetlinkError, openNetlinkSocket } from '../linux/netlink/socket.ts';
import { genericHeader, messageType, NETLINK_NETFILTER } from './nfnetlink/message.ts';

/** Named counters of a network namespace that rules add to (`-m nfacct`), whatever becomes of the rules themselves. */
export interface Nfacct {
  /** Makes the counter unless it is there. @returns false where the kernel has no such counters, or we may not make them */
  ensure(name: string): Promise<boolean>;
  /** Packets counted so far; undefined when there is no such counter. */
  packets(name: string): Promise<bigint | undefined>;
  /** Takes a counter away, unless a rule still adds to it. Idempotent. */
  remove(name: string): Promise<void>;
}

/** linux/netfilter/nfnetlink.h and nfnetlink_acct.h. */
const NFNL_SUBSYS_ACCT = 7;
const NFNL_MSG_ACCT_NEW = 0;
const NFNL_MSG_ACCT_GET = 1;
const NFNL_MSG_ACCT_DEL = 3;
const NFACCT_NAME = 1;
const NFACCT_PKTS = 2;
const NFPROTO_UNSPEC = 0;
/** No nfnetlink_acct in this kernel, or no right to use it. */
const CANNOT = ['EINVAL', 'EOPNOTSUPP', 'EPERM'];
const GENERIC_HEADER_BYTES = 4;

/** @param netns - path of a network namespace; the process's own unless given */
export function createNfacct(netns?: string): Nfacct {
  async function ask(operation: string, message: number, flags: number, name: string): Promise<Buffer[]> {
    const socket = openNetlinkSocket(NETLINK_NETFILTER, netns);
    try {
      return await socket.request({
        operation: `${operation} ${name}`,
        type: messageType(NFNL_SUBSYS_ACCT, message),
        flags,
        body: [genericHeader(NFPROTO_UNSPEC), ...text(NFACCT_NAME, name)],
      });
    } finally {
      socket.close();
    }
  }
  return {
    async ensure(name) {
      try {
        await ask('make the counter', NFNL_MSG_ACCT_NEW, NLM_F_CREATE | NLM_F_EXCL, name);
        return true;
      } catch (error) {
        if (isNetlinkError(error, 'EEXIST', 'EBUSY')) return true;
        if (isNetlinkError(error, ...CANNOT)) return false;
        throw error;
      }
    },
    async packets(name) {
      try {
        const [body] = await ask('read the counter', NFNL_MSG_ACCT_GET, 0, name);
        return body && readAttributes(body, GENERIC_HEADER_BYTES).get(NFACCT_PKTS)?.readBigUInt64BE();
      } catch (error) {
        if (isNetlinkError(error, 'ENOENT', ...CANNOT)) return undefined;
        throw error;
      }
    },
    async remove(name) {
      try {
        await ask('remove the counter', NFNL_MSG_ACCT_DEL, 0, name);
      } catch (error) {
        if (!isNetlinkError(error, 'ENOENT', 'EBUSY', ...CANNOT)) throw error;
      }
    },
  };
}
