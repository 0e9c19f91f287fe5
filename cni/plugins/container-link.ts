/**
 * Plugins that make one virtual link in the container (macvlan, ipvlan, vlan, dummy, tap): what they share.
 *
 *     ADD   make it under a name of its own → alias, its name → addresses of the address manager → up → routes
 *     DEL   the link, then the addresses (an address is not given again while somebody answers to it)
 *
 * The link is made under a name computed from the attachment, because the kernel compares a new link's name with those of the namespace
 * that the request came from: `eth0` would be taken where the host has one. A link of that name is what a killed ADD left. The alias
 * says whose it is; nothing of it is on the host, so that it goes with the container's namespace.
 */
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import {
  type AttachmentKey,
  type AttachRequest,
  CNI_ERROR,
  type CniDns,
  CniError,
  type CniResult,
  type DetachRequest,
  type IpamPlugin,
  type Plugin,
} from '../types.ts';
import { checkInterface, configureInterface, inContainer } from './container-interface.ts';
import { asCniError, broken, ignoreGone, rollBack } from './failure.ts';
import { formatHostVethAlias, hostVethName, parseHostVethAlias } from './host-veth.ts';

export interface ContainerLinkConfig<Ipam> {
  network: string;
  /** undefined: a link without addresses. */
  ipam: Ipam | undefined;
  /** Whether the address manager asks its questions through the link (dhcp): then it must be up before, and there when addresses are given back. */
  ipamUsesLink: boolean;
  /** Stands above the address manager's. */
  dns: CniDns | undefined;
}

/** Where a link is made. */
export interface LinkSite {
  /** A route socket of the host's namespace. */
  host: Rtnetlink;
  /** One of the container's. */
  pod: Rtnetlink;
  netns: string;
  /** Under which it is made, in the container. */
  name: string;
}

/** What a kind of link has of its own. */
export interface LinkKind<Config> {
  /** Of the plugin, and as the kernel calls the kind. */
  readonly type: string;
  readonly kind: string;
  /** Makes the link, down. Throws when it cannot be; then none is there. */
  create(config: Config, site: LinkSite, previous?: CniResult): Promise<void>;
  /** Throws when the link is not as the configuration says. */
  check?(config: Config, link: Link, site: Omit<LinkSite, 'name'>): Promise<void> | void;
  /** Throws code 50 when no link can be made. */
  status?(config: Config, host: Rtnetlink): Promise<void>;
  /** Addresses that are not the address manager's. */
  addresses?(config: Config, previous: CniResult | undefined): Pick<CniResult, 'ips' | 'routes' | 'dns'> | undefined;
}

export interface ContainerLinkDependencies<Ipam> {
  ipam: IpamPlugin<Ipam>;
  /** A route socket of the host's namespace; stays open. */
  host: Rtnetlink;
}

export function createContainerLinkPlugin<Ipam, Config extends ContainerLinkConfig<Ipam>>(
  kind: LinkKind<Config>,
  { ipam, host }: ContainerLinkDependencies<Ipam>,
): Plugin<Config> {
  async function add(config: Config, request: AttachRequest, pod: Rtnetlink, previous?: CniResult): Promise<CniResult> {
    const { ifname, netns } = request;
    const name = hostVethName(config.network, request);
    if (await pod.getLink(ifname)) throw taken(request);
    if (await pod.getLink(name)) await pod.deleteLink(name).catch(ignoreGone);
    await kind.create(config, { host, pod, netns, name }, previous).catch((error) => {
      throw explained(error, kind);
    });
    let reserving = false;
    try {
      await rename(pod, name, config.network, request);
      const given = kind.addresses?.(config, previous);
      if (config.ipam !== undefined && config.ipamUsesLink) await pod.setLink(ifname, { up: true });
      reserving = config.ipam !== undefined && !given;
      const addresses = given ?? (config.ipam === undefined ? undefined : await ipam.add(config.ipam, request));
      if (addresses) await configureInterface(pod, request, addresses);
      else await pod.setLink(ifname, { up: true });
      return resultOf(config, request, await pod.getLink(ifname), addresses);
    } catch (error) {
      return rollBack(error, [
        () => deleteOwn(pod, config, request),
        () => (reserving ? ipam.del(config.ipam as Ipam, request) : undefined),
      ]);
    }
  }

  /** The link of this attachment, whoever made it: the reference plugins' have no alias. One of another kind or network is somebody else's. */
  async function deleteOwn(pod: Rtnetlink, config: Config, request: AttachmentKey): Promise<void> {
    const link = await pod.getLink(request.ifname);
    const network = parseHostVethAlias(link?.alias)?.network;
    if (link?.kind === kind.kind && (network ?? config.network) === config.network)
      await pod.deleteLink(link.index).catch(ignoreGone);
    const half = await pod.getLink(hostVethName(config.network, request));
    if (half) await pod.deleteLink(half.index).catch(ignoreGone);
  }

  async function removeLink(config: Config, request: DetachRequest): Promise<void> {
    const { netns } = request;
    if (netns !== undefined && netnsExists(netns)) await inContainer(netns, (pod) => deleteOwn(pod, config, request));
  }

  return {
    type: kind.type,

    async add(config, request, previous) {
      try {
        return await inContainer(request.netns, (pod) => add(config, request, pod, previous));
      } catch (error) {
        throw asCniError(error);
      }
    },

    async del(config, request) {
      const steps = [
        () => removeLink(config, request),
        () => (config.ipam === undefined ? undefined : ipam.del(config.ipam, request)),
      ];
      await runAll(`detach ${request.containerId} ${request.ifname}`, config.ipamUsesLink ? steps.toReversed() : steps);
    },

    async check(config, request, result) {
      if (config.ipam !== undefined) await ipam.check(config.ipam, request, result);
      await inContainer(request.netns, async (pod) => {
        const link = await checkInterface(pod, request, result);
        if (link.kind !== kind.kind)
          throw broken(`${request.ifname} is of kind ${link.kind ?? 'hardware'}, not ${kind.kind}`);
        await kind.check?.(config, link, { host, pod, netns: request.netns });
      });
    },

    async gc(config, valid) {
      if (config.ipam !== undefined) await ipam.gc(config.ipam, valid);
    },

    async status(config) {
      await kind.status?.(config, host);
      if (config.ipam !== undefined) await ipam.status(config.ipam);
    },
  };
}

async function rename(pod: Rtnetlink, name: string, network: string, request: AttachRequest): Promise<void> {
  const link = await pod.getLink(name);
  if (!link) throw broken(`${name} disappeared from ${request.netns}`);
  const { K8S_POD_NAMESPACE: namespace, K8S_POD_NAME: podName } = request.args;
  const podKey = namespace && podName ? `${namespace}/${podName}` : '';
  await pod.setLink(link.index, { alias: formatHostVethAlias({ ...request, network, pod: podKey }) });
  try {
    await pod.setLink(link.index, { name: request.ifname });
  } catch (error) {
    throw isNetlinkError(error, 'EEXIST') ? taken(request) : error;
  }
}

function resultOf(
  config: ContainerLinkConfig<unknown>,
  { ifname, netns }: AttachRequest,
  link: Link | undefined,
  addresses: Pick<CniResult, 'ips' | 'routes' | 'dns'> | undefined,
): CniResult {
  const dns = config.dns ?? addresses?.dns;
  return {
    interfaces: [{ name: ifname, mac: link?.mac, mtu: link?.mtu, sandbox: netns }],
    ips: (addresses?.ips ?? []).map((ip) => ({ ...ip, interface: 0 })),
    routes: addresses?.routes ?? [],
    ...(dns && { dns }),
  };
}

/** Code 101: the interface is there already. */
export function taken({ ifname, netns, containerId }: AttachRequest): CniError {
  return new CniError(
    CNI_ERROR.alreadyAttached,
    `${ifname} exists already in ${netns}; detach ${containerId} first, or choose another name`,
  );
}

/** Kinds whose module has another name. */
const MODULES: Record<string, string> = { vlan: '8021q' };

function explained(error: unknown, { type, kind }: { type: string; kind: string }): unknown {
  if (!isNetlinkError(error, 'EOPNOTSUPP')) return error;
  return new CniError(CNI_ERROR.ioFailure, `${type}: this kernel has no links of kind ${kind}`, {
    details: `load its module (modprobe ${MODULES[kind] ?? kind}), or run a kernel that has it`,
    cause: error,
  });
}
