/**
 * The bridge plugin: a veth pair whose host end is a port of a Linux bridge.
 *
 *     pod:  eth0 10.244.1.5/24 ──veth── vethXXXXXXXX ─┐
 *     pod:  eth0 10.244.1.6/24 ──veth── vethYYYYYYYY ─┴─ cni0 10.244.1.1/24 (the pods' gateway)
 *
 *     ADD   addresses → bridge, gateway → veth pair, VLANs → spoof check → addresses and routes inside → masquerade → port up
 *     DEL   veth pair → spoof check → masquerade → addresses
 *
 * Everything goes over route sockets; only macspoofchk and ipMasq start programs. Differences from the reference plugin: the address
 * is reserved before the link is made (the pod's MAC comes from it; an address manager that asks through the link gets it first),
 * DEL removes the link before it frees the address (a new pod never shares it), and the host end's name comes from the attachment
 * (DEL works without a namespace).
 */

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
  type IpamPlugin,
  type Plugin,
} from '../types.ts';
import { checkBridgeAttachment } from './bridge-check.ts';
import { configureInterface, inContainer } from './container-interface.ts';
import { ignoreGone, rollBack } from './failure.ts';
import { refuseForeignSubnet } from './foreign-route.ts';
import { withDefaultRoutes, withGatewayAddresses } from './gateways.ts';
import { ensureBridge, ensureGatewayAddress } from './host-bridge.ts';
import { macOfIp } from './host-veth.ts';
import { enableForwarding, refuseRouterAdvertisements } from './interface-sysctls.ts';
import type { MacSpoofCheck } from './mac-spoof-check.ts';
import { configurePortVlans, ensureVlanGateway, type VlanConfig } from './port-vlans.ts';
import {
  createVethAttachment,
  deleteVethAttachment,
  existingLink,
  isAlreadyThere,
  staleVethAttachments,
} from './veth-attachment.ts';

export interface BridgeConfig<Ipam> {
  /** The network's name. */
  network: string;
  bridge: string;
  /** The bridge carries the gateway's address. */
  isGateway: boolean;
  /** Implies isGateway; the pod gets a default route through it. */
  isDefaultGateway: boolean;
  /** Replace a differing address of the bridge instead of refusing. */
  forceAddress: boolean;
  /** A pod reaches itself through its own Service. */
  hairpinMode: boolean;
  /** Bytes, for bridge and both ends; undefined: the kernel's 1500. */
  mtu: number | undefined;
  /** undefined: an interface without addresses. */
  ipam: Ipam | undefined;
  /** The address manager asks its questions through the link (dhcp). */
  ipamUsesLink?: boolean;
  /** Stands above the address manager's. */
  dns?: CniDns;
  /** Of the container's interface; else it comes from the address. */
  mac?: string;
  /** The bridge takes in frames for any MAC: another way for a pod to reach itself. */
  promiscuous?: boolean;
  vlans?: VlanConfig;
  /** The pod sends from its own MAC only. */
  macSpoofCheck?: boolean;
  /** The pod's IPv6 addresses are used once no neighbour has answered for them. */
  duplicateDetection?: boolean;
  /** The pod's interface stays down. */
  disableContainerInterface?: boolean;
  /** No frames between this pod and other isolated ones. */
  portIsolation?: boolean;
  /** What leaves the subnet takes the host's address. */
  masquerade?: MasqueradeBackend;
}

export interface BridgeDependencies<Ipam> {
  ipam: IpamPlugin<Ipam>;
  /** A route socket of the host's namespace; stays open. */
  host: Rtnetlink;
  sleep(ms: number): Promise<void>;
  masquerade: Masquerade;
  macSpoofCheck: MacSpoofCheck;
  /** Path of the host's namespace, when it is not the process's own. */
  hostNetns?: string;
  /** DEL also takes a link of that name in the container that another plugin made: a host may have switched over to ours with pods running. */
  detachesOthers?: boolean;
}

/** Waits between looks at a port that is not up yet; the kernel tells bridges of a carrier in a job of its own. Then it is an error. */
const PORT_WAITS_MS = [1, 2, 5, 10, 20, 50, 500, 1000, 1000];

export function createBridgePlugin<Ipam>(deps: BridgeDependencies<Ipam>): Plugin<BridgeConfig<Ipam>> {
  const { host, ipam, hostNetns } = deps;

  async function add(config: BridgeConfig<Ipam>, request: AttachRequest, pod: Rtnetlink): Promise<CniResult> {
    const reserved =
      config.ipam === undefined || config.ipamUsesLink ? undefined : await ipam.add(config.ipam, request);
    try {
      return await connect(config, request, pod, reserved);
    } catch (error) {
      // Only what this call made: an `eth0` that was there before stays.
      const madeLink = !isAlreadyThere(error);
      return rollBack(error, [
        () => (madeLink ? removeLink(config, request) : undefined),
        () => (config.ipam === undefined ? undefined : ipam.del(config.ipam, request)),
      ]);
    }
  }

  async function connect(
    config: BridgeConfig<Ipam>,
    request: AttachRequest,
    pod: Rtnetlink,
    reserved: CniResult | undefined,
  ): Promise<CniResult> {
    const { vlans, mtu, portIsolation = false } = config;
    const bridge = await ensureBridge(host, {
      name: config.bridge,
      mtu,
      promiscuous: config.promiscuous,
      vlanFiltering: vlans !== undefined,
      netns: hostNetns,
    });
    const name = await createVethAttachment(host, request, {
      network: config.network,
      mtu,
      mac: config.mac ?? reserved?.ips.map(({ address }) => macOfIp(address.split('/')[0]!)).find(Boolean),
      masterIndex: bridge.index,
      port: { hairpin: config.hairpinMode, isolated: portIsolation },
    });
    refuseRouterAdvertisements(name, hostNetns);
    if (vlans) await configurePortVlans(host, (await existingLink(host, name)).index, vlans);
    const inside = await existingLink(pod, request.ifname);
    if (config.macSpoofCheck) await deps.macSpoofCheck.ensure(request, name, inside.mac ?? '');
    const addresses =
      reserved ?? (config.ipam === undefined ? undefined : await askThroughLink(config.ipam, request, pod));
    const gateway = addresses && (await configureAddresses(config, request, pod, bridge, addresses));
    if (!addresses && !config.disableContainerInterface) await pod.setLink(inside.index, { up: true });
    const port = config.disableContainerInterface ? await existingLink(host, name) : await portThatIsUp(name);
    const result = gateway?.result ?? { ips: [], routes: [], dns: undefined };
    const dns = config.dns ?? result.dns;
    const [first, ...further] = [await bridgeNow(bridge), ...(gateway?.link ? [gateway.link] : [])];
    return {
      interfaces: [
        hostInterface(first!),
        hostInterface(port),
        { name: request.ifname, mac: inside.mac, mtu: inside.mtu, sandbox: request.netns },
        ...further.map(hostInterface),
      ],
      ips: result.ips.map((ip) => ({ ...ip, interface: 2 })),
      routes: result.routes,
      ...(dns && { dns }),
    };
  }

  async function askThroughLink(config: Ipam, request: AttachRequest, pod: Rtnetlink): Promise<CniResult> {
    await pod.setLink(request.ifname, { up: true });
    return ipam.add(config, request);
  }

  /** Gateway, addresses and routes, what leaves. @returns the result so far, and the gateway's link where that is not the bridge */
  async function configureAddresses(
    config: BridgeConfig<Ipam>,
    request: AttachRequest,
    pod: Rtnetlink,
    bridge: Link,
    addresses: CniResult,
  ): Promise<{ result: CniResult; link: Link | undefined }> {
    const isGateway = config.isGateway || config.isDefaultGateway;
    const ips = isGateway ? withGatewayAddresses(addresses.ips) : addresses.ips;
    const routes = config.isDefaultGateway ? withDefaultRoutes(addresses.routes, ips) : addresses.routes;
    const access = config.vlans?.access;
    let link: Link | undefined;
    if (isGateway) {
      if (config.vlans && access !== undefined)
        link = await ensureVlanGateway(host, bridge, { ...config.vlans, access }, hostNetns);
      for (const { address } of ips) await refuseForeignSubnet(host, address, link ?? bridge);
      for (const { address, gateway } of ips)
        await ensureGatewayAddress(host, link ?? bridge, `${gateway}/${address.split('/')[1]}`, config.forceAddress);
      enableForwarding(
        ips.map(({ address }) => address),
        hostNetns,
      );
    }
    // Of routers there is the one that the result names (CVE-2020-10749).
    refuseRouterAdvertisements(request.ifname, request.netns);
    const result = { ...addresses, ips, routes };
    await configureInterface(pod, request, result, { duplicateDetection: config.duplicateDetection });
    if (config.masquerade) {
      await deps.masquerade.ensure(
        config.network,
        request,
        ips.map(({ address }) => address),
        config.masquerade,
      );
    }
    return { result, link };
  }

  async function portThatIsUp(name: string): Promise<Link> {
    for (const waitMs of PORT_WAITS_MS) {
      const port = await existingLink(host, name);
      if (port.operationalState === 'up') return port;
      await deps.sleep(waitMs);
    }
    throw new CniError(
      CNI_ERROR.ioFailure,
      `bridge port in error state: ${(await existingLink(host, name)).operationalState}`,
      {
        details: `${name} does not come up`,
      },
    );
  }

  /** A foreign bridge takes the lowest MAC of its ports, which may be the new one's. */
  async function bridgeNow(bridge: Link): Promise<Link> {
    return bridge.alias === undefined ? existingLink(host, bridge.name) : bridge;
  }

  async function removeLink(config: BridgeConfig<Ipam>, request: Omit<AttachRequest, 'netns'> & { netns?: string }) {
    await runAll(`link of ${request.containerId} ${request.ifname}`, [
      () => deleteVethAttachment(host, config.network, request, deps.detachesOthers ?? false),
      () => (config.macSpoofCheck ? deps.macSpoofCheck.remove(request) : undefined),
      () => (config.masquerade ? deps.masquerade.remove(config.network, request) : undefined),
    ]);
  }

  return {
    type: 'bridge',

    add: (config, request) => inContainer(request.netns, (pod) => add(config, request, pod)),

    async del(config, request) {
      const steps = [
        () => removeLink(config, request),
        () => (config.ipam === undefined ? undefined : ipam.del(config.ipam, request)),
      ];
      await runAll(`detach ${request.containerId} ${request.ifname}`, config.ipamUsesLink ? steps.toReversed() : steps);
    },

    check: (config, request, result) => checkBridgeAttachment(config, request, result, deps),

    async gc(config, valid) {
      const links = await host.listLinks();
      const stale = staleVethAttachments(links, config.network, valid);
      await runAll(`collect links of network ${config.network}`, [
        ...stale.map((link) => () => host.deleteLink(link.index).catch(ignoreGone)),
        () =>
          config.macSpoofCheck
            ? deps.macSpoofCheck.collect(new Set(links.filter((one) => !stale.includes(one)).map(({ name }) => name)))
            : undefined,
        () => (config.masquerade ? deps.masquerade.collect(config.network, valid) : undefined),
        () => (config.ipam === undefined ? undefined : ipam.gc(config.ipam, valid)),
      ]);
    },

    async status(config) {
      const taken = await host.getLink(config.bridge);
      if (taken && taken.kind !== 'bridge')
        throw new CniError(CNI_ERROR.notAvailable, `${config.bridge} exists and is no bridge`);
      if (config.masquerade) deps.masquerade.status(config.masquerade);
      if (config.ipam !== undefined) await ipam.status(config.ipam);
    },
  };
}

const hostInterface = ({ name, mac, mtu }: Link) => ({ name, mac, mtu, sandbox: '' });
