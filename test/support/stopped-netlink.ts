import { openRtnetlink, type Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import type { NetlinkRequest } from '../../src/linux/netlink/socket.ts';

/** What changes the kernel; the rest reads. */
const CHANGES = new Set([
  ...['createBridge', 'createVeth', 'createLink', 'setLink', 'deleteLink', 'addAddress', 'deleteAddress'],
  ...['addRoute', 'prependRoute', 'replaceRoute', 'deleteRoute', 'setNeighbour', 'deleteNeighbour'],
]);
const NLM_F_DUMP = 0x300;

/**
 * A route socket that ends before the change of the given number: `stop` is called in place of it, and of every later one. Whoever asked waits
 * for ever, as if the process had been killed there.
 */
export function openStoppedNetlink(netns: string | undefined, atChange: number, stop: () => void): Rtnetlink {
  const netlink = openRtnetlink(netns);
  let changes = 0;
  const isOver = () => {
    if (changes++ < atChange) return false;
    stop();
    return true;
  };
  return new Proxy(netlink, {
    get(target, name: keyof Rtnetlink) {
      const method = target[name] as (...args: unknown[]) => unknown;
      if (name === 'request')
        return (request: NetlinkRequest) =>
          isDump(request) || !isOver() ? target.request(request) : new Promise<never>(() => {});
      if (!CHANGES.has(name)) return method;
      return (...args: unknown[]) => (isOver() ? new Promise<never>(() => {}) : method(...args));
    },
  });
}

function isDump({ flags = 0 }: NetlinkRequest): boolean {
  return (flags & NLM_F_DUMP) === NLM_F_DUMP;
}
