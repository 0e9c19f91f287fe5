import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { AttachRequest, CniDns, CniResult, IpamPlugin, Plugin } from '../types.ts';
import { checkInterface, configureInterface, inContainer } from './container-interface.ts';
import { moveIntoContainer, moveOutOfContainer, restoreReturned } from './device-move.ts';
import { asCniError, rollBack } from './failure.ts';
import { type DeviceSelector, findHostDevice, hasUserspaceDriver } from './host-device-search.ts';

export interface HostDeviceConfig<Ipam> {
  selector: DeviceSelector;
  ipam: Ipam | undefined;
  ipamUsesLink: boolean;
  dns: CniDns | undefined;
}

export interface HostDeviceDependencies<Ipam> {
  ipam: IpamPlugin<Ipam>;
  /** A route socket of the host's namespace; stays open. */
  host: Rtnetlink;
  /** Path of the host's namespace, when it is not the process's own. */
  hostNetns?: string;
}

/** A thread may be in a container's namespace for an instant; the process's first one never is when a file is opened. */
const OWN_NETNS = '/proc/self/ns/net';

/** The host-device plugin: a network device of the host's is the container's as long as it lives. */
export function createHostDevicePlugin<Ipam>(deps: HostDeviceDependencies<Ipam>): Plugin<HostDeviceConfig<Ipam>> {
  const { ipam, host, hostNetns = OWN_NETNS } = deps;
  type Config = HostDeviceConfig<Ipam>;

  async function add(config: Config, request: AttachRequest, pod: Rtnetlink): Promise<CniResult> {
    const places = { host, hostNetns, pod };
    const { ifname, netns } = request;
    // A program's own device has no interface to move: there are only addresses to give.
    const isUserspace = hasUserspaceDriver(config.selector);
    if (!isUserspace) {
      await restoreReturned(host, config.selector);
      await moveIntoContainer(await findHostDevice(host, config.selector), request, places);
    }
    let reserving = false;
    try {
      reserving = config.ipam !== undefined;
      const addresses = config.ipam === undefined ? undefined : await ipam.add(config.ipam, request);
      if (addresses && !isUserspace) await configureInterface(pod, request, addresses);
      const link = isUserspace ? undefined : await pod.getLink(ifname);
      const dns = config.dns ?? addresses?.dns;
      return {
        interfaces: link ? [{ name: ifname, mac: link.mac, mtu: link.mtu, sandbox: netns }] : [],
        ips: (addresses?.ips ?? []).map((ip) => ({ ...ip, ...(link && { interface: 0 }) })),
        routes: addresses?.routes ?? [],
        ...(dns && { dns }),
      };
    } catch (error) {
      return rollBack(error, [
        () => (isUserspace ? undefined : moveOutOfContainer(request, config.selector, places)),
        () => (reserving ? ipam.del(config.ipam as Ipam, request) : undefined),
      ]);
    }
  }

  return {
    type: 'host-device',

    async add(config, request) {
      try {
        return await inContainer(request.netns, (pod) => add(config, request, pod));
      } catch (error) {
        throw asCniError(error);
      }
    },

    async del(config, request) {
      const { netns } = request;
      const steps = [
        async () => {
          // Whose device a program drives has none of the host's links here. The bus is not asked: a device may be unplugged by now.
          if (netns === undefined || !netnsExists(netns)) return restoreReturned(host, config.selector);
          await inContainer(netns, (pod) =>
            moveOutOfContainer({ netns, ifname: request.ifname }, config.selector, { host, hostNetns, pod }),
          );
        },
        () => (config.ipam === undefined ? undefined : ipam.del(config.ipam, request)),
      ];
      await runAll(`detach ${request.containerId} ${request.ifname}`, config.ipamUsesLink ? steps.toReversed() : steps);
    },

    async check(config, request, result) {
      if (config.ipam !== undefined) await ipam.check(config.ipam, request, result);
      if (!hasUserspaceDriver(config.selector))
        await inContainer(request.netns, (pod) => checkInterface(pod, request, result));
    },

    async gc(config, valid) {
      await restoreReturned(host, config.selector);
      if (config.ipam !== undefined) await ipam.gc(config.ipam, valid);
    },

    async status(config) {
      if (config.ipam !== undefined) await ipam.status(config.ipam);
    },
  };
}
