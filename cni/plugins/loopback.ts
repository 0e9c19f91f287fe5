import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import type { CniResult, Plugin } from '../types.ts';
import { inContainer } from './container-interface.ts';
import { broken } from './failure.ts';

const LOOPBACK_INDEX = 1;

/** Sets `lo` up in the container. It goes with the namespace. */
export const loopback: Plugin<Record<string, never>> = {
  type: 'loopback',

  add: (_config, request, previous) =>
    inContainer(request.netns, async (pod): Promise<CniResult> => {
      await pod.setLink(LOOPBACK_INDEX, { up: true });
      if (previous) return previous;
      // Which the kernel has given it: without IPv6 there is one less.
      const addresses = await pod.listAddresses({ linkIndex: LOOPBACK_INDEX });
      return {
        interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: request.netns }],
        ips: addresses.map(({ address }) => ({ address, interface: 0 })),
        routes: [],
      };
    }),

  async del(_config, { netns }) {
    if (netns === undefined || !netnsExists(netns)) return;
    const pod = openRtnetlink(netns);
    try {
      await pod.setLink(LOOPBACK_INDEX, { up: false });
    } finally {
      pod.close();
    }
  },

  check: (_config, request) =>
    inContainer(request.netns, async (pod) => {
      const link = await pod.getLink(LOOPBACK_INDEX);
      if (!link?.up) throw broken(`lo is down in ${request.netns}`);
    }),

  async gc() {},
  async status() {},
};
