/**
 * The bridge plugin: a veth pair whose host end is a port of a Linux bridge.
 *
 *     pod:  eth0 10.244.1.5/24 ──veth── vethXXXXXXXX ─┐
 *     pod:  eth0 10.244.1.6/24 ──veth── vethYYYYYYYY ─┴─ cni0 10.244.1.1/24 (the pods' gateway)
 *
 * Everything goes over route sockets; no process is started. Differences from the reference plugin: the address
 * is reserved before the link is made (the pod's MAC comes from it), DEL removes the link before it frees the
 * address (a new pod never shares it), the host end's name comes from the attachment (DEL works without a namespace),
 * and forwarding sysctls and masquerade belong to the node (`cni/node`), which also restores them.
 */

import type { Link } from '../../src/linux/netlink/links.ts';
import { defaultDestination } from '../../src/linux/netlink/routes.ts';
import { openRtnetlink, type Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import {
  type AttachRequest,
  CNI_ERROR,
  CniError,
  type CniResult,
  type CniRoute,
  type DetachRequest,
  type IpamPlugin,
  type Plugin,
} from '../types.ts';
import { ensureBridge, ensureBridgeAddress } from './host-bridge.ts';
import { formatHostVethAlias, hostVethName, macOfIp, parseHostVethAlias } from './host-veth.ts';

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
  ipam: Ipam;
}

export interface BridgeDependencies<Ipam> {
  ipam: IpamPlugin<Ipam>;
  /** A route socket of the host's namespace; stays open. */
  host: Rtnetlink;
  /** Path of the host's namespace, when it is not the process's own. */
  hostNetns?: string;
  /** DEL also takes a link of that name in the container that another plugin made: a host may have switched over to ours with pods running. */
  detachesOthers?: boolean;
}

export function createBridgePlugin<Ipam>(deps: BridgeDependencies<Ipam>): Plugin<BridgeConfig<Ipam>> {
  const { host, ipam } = deps;

  async function add(config: BridgeConfig<Ipam>, request: AttachRequest): Promise<CniResult> {
    if (!netnsExists(request.netns))
      throw new CniError(CNI_ERROR.invalidNetns, `network namespace ${request.netns} does not exist`);
    const addresses = await ipam.add(config.ipam, request);
    try {
      return await connect(config, request, addresses);
    } catch (error) {
      // Only what this call made: an `eth0` that was there before stays.
      await runAll('roll back', [
        () => removeIf(!isAlreadyThere(error), () => deleteHostVeth(config, request)),
        () => ipam.del(config.ipam, request),
      ]).catch((cleanup) => {
        throw new CniError(CNI_ERROR.unknown, `${(error as Error).message}; ${(cleanup as Error).message}`, {
          cause: error,
        });
      });
      throw asCniError(error);
    }
  }

  async function connect(config: BridgeConfig<Ipam>, request: AttachRequest, addresses: CniResult) {
    const bridge = await ensureBridge(host, { name: config.bridge, mtu: config.mtu, netns: deps.hostNetns });
    if (config.isGateway || config.isDefaultGateway)
      for (const { address, gateway } of addresses.ips)
        if (gateway)
          await ensureBridgeAddress(host, bridge, `${gateway}/${address.split('/')[1]}`, config.forceAddress);
    const mac = addresses.ips.map(({ address }) => macOfIp(address.split('/')[0]!)).find(Boolean);
    const name = hostVethName(config.network, request);
    const { mtu } = config;
    // Sent together, carried out in order.
    const made = host.createVeth({
      name,
      mtu,
      masterIndex: bridge.index,
      up: true,
      peer: { name: request.ifname, mtu, mac, netns: request.netns },
    });
    const marked = host.setLink(name, {
      alias: formatHostVethAlias({ ...request, network: config.network, pod: podOf(request) }),
      hairpin: config.hairpinMode,
    });
    marked.catch(() => {});
    await made.catch((cause) => {
      throw isNetlinkError(cause, 'EEXIST') ? alreadyThere(request, name) : cause;
    });
    await marked;
    const routes = routesOf(config, addresses);
    const inside = await configurePod(request, addresses, routes);
    return {
      interfaces: [
        { name: bridge.name, mac: bridge.mac, mtu: bridge.mtu, sandbox: '' },
        { name, mtu: inside.mtu, sandbox: '' },
        { name: request.ifname, mac: inside.mac, mtu: inside.mtu, sandbox: request.netns },
      ],
      ips: addresses.ips.map((ip) => ({ ...ip, interface: 2 })),
      routes,
    };
  }

  async function deleteHostVeth(config: BridgeConfig<Ipam>, request: DetachRequest) {
    try {
      await host.deleteLink(hostVethName(config.network, request));
    } catch (error) {
      if (!isNetlinkError(error, 'ENODEV')) throw error;
      if (deps.detachesOthers) await deletePodLink(request);
    }
  }

  return {
    type: 'bridge',
    add,

    async del(config, request) {
      await runAll(`detach ${request.containerId} ${request.ifname}`, [
        () => deleteHostVeth(config, request),
        () => ipam.del(config.ipam, request),
      ]);
    },

    async check(config, request, result) {
      await ipam.check(config.ipam, request, result);
      const bridge = await host.getLink(config.bridge);
      if (bridge?.kind !== 'bridge') throw broken(`bridge ${config.bridge} is missing`);
      const veth = await host.getLink(hostVethName(config.network, request));
      if (!veth) throw broken(`the host end of ${request.ifname} is missing`);
      if (veth.masterIndex !== bridge.index) throw broken(`${veth.name} is no port of ${config.bridge}`);
      await checkPod(request, result, veth);
    },

    async gc(config, valid) {
      const keep = new Set(valid.map((key) => hostVethName(config.network, key)));
      const stale = (await host.listLinks()).filter((link) => {
        const identity = link.kind === 'veth' ? parseHostVethAlias(link.alias) : undefined;
        return identity?.network === config.network && !keep.has(link.name);
      });
      await runAll(`collect links of network ${config.network}`, [
        ...stale.map((link) => () => host.deleteLink(link.index).catch(ignoreGone)),
        () => ipam.gc(config.ipam, valid),
      ]);
    },

    status: (config) => ipam.status(config.ipam),
  };
}

/** Another plugin's pair has any name on the host: it is found by the end in the container. */
async function deletePodLink({ netns, ifname }: DetachRequest): Promise<void> {
  if (netns === undefined || !netnsExists(netns)) return;
  const pod = openRtnetlink(netns);
  try {
    await pod.deleteLink(ifname).catch(ignoreGone);
  } finally {
    pod.close();
  }
}

/** Address and routes of the pod's end. Addresses go on before the link is up; the routes need it up. */
async function configurePod(request: AttachRequest, addresses: CniResult, routes: CniRoute[]): Promise<Link> {
  const pod = openRtnetlink(request.netns);
  try {
    const link = await pod.getLink(request.ifname);
    if (!link) throw new CniError(CNI_ERROR.unknown, `${request.ifname} disappeared from ${request.netns}`);
    const linkIndex = link.index;
    await Promise.all([
      ...addresses.ips.map(({ address }) => pod.addAddress({ linkIndex, address })),
      pod.setLink(linkIndex, { up: true }),
      ...routes.map((route) =>
        // Beside those of the container's other networks.
        pod.appendRoute({ destination: route.dst, gateway: route.gw, linkIndex, metric: route.priority }),
      ),
    ]);
    return link;
  } finally {
    pod.close();
  }
}

async function checkPod(request: AttachRequest, result: CniResult, veth: Link): Promise<void> {
  const pod = openRtnetlink(request.netns);
  try {
    const link = await pod.getLink(request.ifname);
    if (!link) throw broken(`${request.ifname} is missing in ${request.netns}`);
    if (veth.peerIndex !== link.index) throw broken(`${veth.name} is not the other end of ${request.ifname}`);
    if (!link.up) throw broken(`${request.ifname} is down`);
    const present = new Set((await pod.listAddresses({ linkIndex: link.index })).map((one) => one.address));
    for (const { address } of result.ips)
      if (!present.has(address)) throw broken(`${request.ifname} lacks address ${address}`);
    const routes = await pod.listRoutes({ table: 254 });
    for (const { dst, gw } of result.routes)
      if (!routes.some((route) => route.destination === dst && (gw === undefined || route.gateway === gw)))
        throw broken(`${request.netns} lacks the route to ${dst}`);
  } finally {
    pod.close();
  }
}

function routesOf(config: { isDefaultGateway: boolean }, { ips, routes }: CniResult): CniRoute[] {
  const gatewayFor = (dst: string) =>
    ips.find(({ gateway }) => gateway && gateway.includes(':') === dst.includes(':'))?.gateway;
  const wanted = routes.map((route) => ({ ...route, gw: route.gw ?? gatewayFor(route.dst) }));
  if (!config.isDefaultGateway) return wanted;
  for (const { gateway } of ips) {
    const dst = gateway && defaultDestination(gateway);
    if (dst && !wanted.some((route) => route.dst === dst)) wanted.push({ dst, gw: gateway });
  }
  return wanted;
}

function podOf({ args }: AttachRequest): string {
  const { K8S_POD_NAMESPACE: namespace, K8S_POD_NAME: name } = args;
  return namespace && name ? `${namespace}/${name}` : '';
}

function alreadyThere(request: AttachRequest, name: string): CniError {
  return new CniError(
    CNI_ERROR.alreadyAttached,
    `${request.ifname} in ${request.netns} or ${name} on the host exists already; detach ${request.containerId} first`,
  );
}

function isAlreadyThere(error: unknown): boolean {
  return error instanceof CniError && error.code === CNI_ERROR.alreadyAttached;
}

async function removeIf(condition: boolean, remove: () => Promise<void>): Promise<void> {
  if (condition) await remove();
}

function ignoreGone(error: unknown): void {
  if (!isNetlinkError(error, 'ENODEV')) throw error;
}

function broken(what: string): CniError {
  return new CniError(CNI_ERROR.unknown, what);
}

function asCniError(error: unknown): unknown {
  if (error instanceof CniError || !(error instanceof Error)) return error;
  return new CniError(CNI_ERROR.ioFailure, error.message, { cause: error });
}
