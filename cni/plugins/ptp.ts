/**
 * The ptp plugin: a veth pair between the container and the host, and a route to each other. No bridge: containers reach each other
 * through the host's routing.
 *
 *     pod:  eth0 10.1.0.5/24, routes 10.1.0.1 dev eth0, 10.1.0.0/24 via 10.1.0.1
 *     host: vethXXXXXXXX 10.1.0.1/32 (the same on each), route 10.1.0.5 dev vethXXXXXXXX
 *
 * The container's own subnet goes by the gateway too: the address comes without the route that the kernel would make.
 */
import { formatIp, formatPrefix, networkOf, parsePrefix } from '../../src/linux/ip.ts';
import { RT_SCOPE_HOST, RT_SCOPE_LINK } from '../../src/linux/netlink/constants.ts';
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { Masquerade, MasqueradeBackend } from '../masquerade/masquerade.ts';
import {
  type AttachRequest,
  CNI_ERROR,
  type CniDns,
  CniError,
  type CniResult,
  type CniRoute,
  type DetachRequest,
  type IpamPlugin,
  type Plugin,
} from '../types.ts';
import { checkInterface, configureInterface, inContainer } from './container-interface.ts';
import { broken, ignoreGone, rollBack } from './failure.ts';
import { refuseForeignHostRoute } from './foreign-route.ts';
import { macOfIp } from './host-veth.ts';
import { enableForwarding, refuseRouterAdvertisements } from './interface-sysctls.ts';
import {
  checkHostEnd,
  createVethAttachment,
  deleteVethAttachment,
  existingLink,
  isAlreadyThere,
  staleVethAttachments,
} from './veth-attachment.ts';

export interface PtpConfig<Ipam> {
  network: string;
  /** Bytes, of both ends; undefined: the kernel's 1500. */
  mtu: number | undefined;
  ipam: Ipam;
  /** Stands above the address manager's. */
  dns: CniDns | undefined;
  masquerade: MasqueradeBackend | undefined;
}

export interface PtpDependencies<Ipam> {
  ipam: IpamPlugin<Ipam>;
  /** A route socket of the host's namespace; stays open. */
  host: Rtnetlink;
  masquerade: Masquerade;
  /** Path of the host's namespace, when it is not the process's own. */
  hostNetns?: string;
}

export function createPtpPlugin<Ipam>(deps: PtpDependencies<Ipam>): Plugin<PtpConfig<Ipam>> {
  const { host, ipam, hostNetns } = deps;

  async function add(config: PtpConfig<Ipam>, request: AttachRequest, pod: Rtnetlink): Promise<CniResult> {
    const addresses = await ipam.add(config.ipam, request);
    try {
      return await connect(config, request, pod, addresses);
    } catch (error) {
      const madeLink = !isAlreadyThere(error);
      return rollBack(error, [
        () => (madeLink ? removeLink(config, request) : undefined),
        () => ipam.del(config.ipam, request),
      ]);
    }
  }

  async function connect(
    config: PtpConfig<Ipam>,
    request: AttachRequest,
    pod: Rtnetlink,
    addresses: CniResult,
  ): Promise<CniResult> {
    const { ips } = addresses;
    const peers = ips.map(({ address, gateway }) => {
      if (!gateway)
        throw new CniError(
          CNI_ERROR.invalidNetworkConfig,
          `ptp: ${address} has no gateway, which the host's end would have`,
          {
            details: 'give the address a gateway in the ipam section',
          },
        );
      return { prefix: parsePrefix(address), gateway };
    });
    enableForwarding(
      ips.map(({ address }) => address),
      hostNetns,
    );
    const name = await createVethAttachment(host, request, {
      network: config.network,
      mtu: config.mtu,
      mac: peers.map(({ prefix }) => macOfIp(formatIp(prefix.address))).find(Boolean),
    });
    // The container's end is down still: nothing has come in.
    refuseRouterAdvertisements(name, hostNetns);
    const end = await existingLink(host, name);
    for (const { prefix, gateway } of peers) {
      const bits = prefix.address.length * 8;
      await host.addAddress({ linkIndex: end.index, address: `${gateway}/${bits}` });
    }
    refuseRouterAdvertisements(request.ifname, request.netns);
    const toGateway = peers.flatMap(({ prefix, gateway }): CniRoute[] => [
      { dst: `${gateway}/${prefix.address.length * 8}`, scope: RT_SCOPE_LINK },
      { dst: formatPrefix(networkOf(prefix)), gw: gateway },
    ]);
    const routes = [...toGateway, ...addresses.routes];
    await configureInterface(pod, request, { ips, routes }, { noPrefixRoute: true });
    const inside = await existingLink(pod, request.ifname);
    for (const { prefix } of peers)
      await routeToContainer(end, `${formatIp(prefix.address)}/${prefix.address.length * 8}`);
    if (config.masquerade) {
      await deps.masquerade.ensure(
        config.network,
        request,
        ips.map(({ address }) => address),
        config.masquerade,
      );
    }
    const dns = config.dns ?? addresses.dns;
    return {
      interfaces: [
        { name, mac: end.mac, mtu: end.mtu, sandbox: '' },
        { name: request.ifname, mac: inside.mac, mtu: inside.mtu, sandbox: request.netns },
      ],
      ips: ips.map((ip) => ({ ...ip, interface: 1 })),
      routes: addresses.routes,
      ...(dns && { dns }),
    };
  }

  /** What leads there already is what an address of before has left. */
  async function routeToContainer(end: Link, destination: string): Promise<void> {
    await refuseForeignHostRoute(host, destination, end);
    const route = { destination, linkIndex: end.index, scope: destination.includes(':') ? undefined : RT_SCOPE_HOST };
    await host.replaceRoute(route);
  }

  async function removeLink(config: PtpConfig<Ipam>, request: DetachRequest): Promise<void> {
    await runAll(`link of ${request.containerId} ${request.ifname}`, [
      () => deleteVethAttachment(host, config.network, request, true),
      () => (config.masquerade ? deps.masquerade.remove(config.network, request) : undefined),
    ]);
  }

  return {
    type: 'ptp',

    add: (config, request) => inContainer(request.netns, (pod) => add(config, request, pod)),

    del: (config, request) =>
      runAll(`detach ${request.containerId} ${request.ifname}`, [
        () => removeLink(config, request),
        () => ipam.del(config.ipam, request),
      ]),

    async check(config, request, result) {
      await ipam.check(config.ipam, request, result);
      await inContainer(request.netns, async (pod) => {
        const link = await checkInterface(pod, request, result);
        const end = await checkHostEnd(host, link, result);
        if (!end.up) throw broken(`${end.name} is down`);
        const [routes, own] = [await host.listRoutes(), await host.listAddresses({ linkIndex: end.index })];
        for (const { address, gateway } of result.ips) {
          if (gateway && !own.some((one) => one.address.split('/')[0] === gateway))
            throw broken(`${end.name} lacks the gateway's address ${gateway}`);
          const { address: bytes } = parsePrefix(address);
          const destination = `${formatIp(bytes)}/${bytes.length * 8}`;
          if (!routes.some((route) => route.destination === destination && route.linkIndex === end.index))
            throw broken(`the host has no route to ${destination} by ${end.name}`);
        }
      });
      const addresses = result.ips.map(({ address }) => address);
      if (config.masquerade) await deps.masquerade.check(config.network, request, addresses);
    },

    async gc(config, valid) {
      const stale = staleVethAttachments(await host.listLinks(), config.network, valid);
      await runAll(`collect links of network ${config.network}`, [
        ...stale.map((link) => () => host.deleteLink(link.index).catch(ignoreGone)),
        () => (config.masquerade ? deps.masquerade.collect(config.network, valid) : undefined),
        () => ipam.gc(config.ipam, valid),
      ]);
    },

    async status(config) {
      if (config.masquerade) deps.masquerade.status(config.masquerade);
      await ipam.status(config.ipam);
    },
  };
}
