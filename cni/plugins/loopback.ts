import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { CNI_ERROR, CniError, type Plugin } from '../types.ts';

const LOOPBACK_INDEX = 1;

/** Sets `lo` up in the container. It goes with the namespace, so there is nothing to undo. */
export const loopback: Plugin<Record<string, never>> = {
  type: 'loopback',

  async add(_config, request, previous) {
    if (!netnsExists(request.netns))
      throw new CniError(CNI_ERROR.invalidNetns, `network namespace ${request.netns} does not exist`);
    const pod = openRtnetlink(request.netns);
    try {
      await pod.setLink(LOOPBACK_INDEX, { up: true });
    } finally {
      pod.close();
    }
    return (
      previous ?? {
        interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: request.netns }],
        ips: [
          { address: '127.0.0.1/8', interface: 0 },
          { address: '::1/128', interface: 0 },
        ],
        routes: [],
      }
    );
  },

  async del() {},

  async check(_config, request) {
    const pod = openRtnetlink(request.netns);
    try {
      const link = await pod.getLink(LOOPBACK_INDEX);
      if (!link?.up) throw new CniError(CNI_ERROR.unknown, `lo is down in ${request.netns}`);
    } finally {
      pod.close();
    }
  },

  async gc() {},
  async status() {},
};
