/** A container's veth pair as bridge and ptp have it: how it is made, found again, taken away, looked at. */
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import {
  type AttachmentKey,
  type AttachRequest,
  CNI_ERROR,
  CniError,
  type CniResult,
  type DetachRequest,
} from '../types.ts';
import { inContainer } from './container-interface.ts';
import { broken, ignoreGone } from './failure.ts';
import { formatHostVethAlias, hostVethName, parseHostVethAlias } from './host-veth.ts';

export interface VethSpec {
  network: string;
  /** Bytes, of both ends; undefined: the kernel's 1500. */
  mtu: number | undefined;
  /** Of the container's end; undefined: the kernel's choice. */
  mac: string | undefined;
  /** Of the bridge that the host's end is a port of. */
  masterIndex?: number;
  port?: { hairpin: boolean; isolated: boolean };
}

/**
 * Makes the pair in one step, the container's end down. Its host end has a name and an alias that say whose it is.
 * @returns the host end's name
 * @throws CniError 101 when one of the names is taken; then nothing was made.
 */
export async function createVethAttachment(host: Rtnetlink, request: AttachRequest, spec: VethSpec): Promise<string> {
  const name = hostVethName(spec.network, request);
  const { mtu, mac, masterIndex } = spec;
  const alias = formatHostVethAlias({ ...request, network: spec.network, pod: podOf(request) });
  const peer = { name: request.ifname, mtu, mac, netns: request.netns };
  try {
    await host.createVeth({ name, mtu, masterIndex, up: true, peer, change: { alias, ...spec.port } });
  } catch (cause) {
    throw isNetlinkError(cause, 'EEXIST') ? alreadyThere(request, name) : cause;
  }
  return name;
}

/** An end of a pair that was made a moment ago. @throws CniError when somebody has deleted it since. */
export async function existingLink(netlink: Rtnetlink, name: string): Promise<Link> {
  const link = await netlink.getLink(name);
  if (!link) throw broken(`${name} disappeared while the container was attached`);
  return link;
}

/**
 * Deletes the pair; one that is gone is fine.
 * @param takesOthers also a pair that another plugin made, which has any name on the host and is found by the end in the container
 */
export async function deleteVethAttachment(
  host: Rtnetlink,
  network: string,
  request: DetachRequest,
  takesOthers: boolean,
): Promise<void> {
  try {
    await host.deleteLink(hostVethName(network, request));
  } catch (error) {
    if (!isNetlinkError(error, 'ENODEV')) throw error;
    const { netns, ifname } = request;
    if (!takesOthers || netns === undefined || !netnsExists(netns)) return;
    await inContainer(netns, async (pod) => {
      const link = await pod.getLink(ifname);
      if (link?.kind !== 'veth' || link.peerIndex === undefined) return;
      // Of another attachment of ours: runtimes call DEL after an ADD that failed since the name was taken.
      const end = await host.getLink(link.peerIndex);
      if (!parseHostVethAlias(end?.alias)) await pod.deleteLink(link.index).catch(ignoreGone);
    });
  }
}

/** Host ends of a network whose attachment is none of the valid ones. O(links of the host). */
export function staleVethAttachments(links: readonly Link[], network: string, valid: readonly AttachmentKey[]): Link[] {
  const keep = new Set(valid.map((key) => hostVethName(network, key)));
  return links.filter((link) => {
    const identity = link.kind === 'veth' ? parseHostVethAlias(link.alias) : undefined;
    return identity?.network === network && !keep.has(link.name);
  });
}

/**
 * The host's end of the pair that the container's link is of, whoever made it.
 * @throws CniError 0 when it is gone, or is none of those that the ADD reported.
 */
export async function checkHostEnd(host: Rtnetlink, link: Link, { interfaces }: CniResult): Promise<Link> {
  const end = link.kind === 'veth' && link.peerIndex !== undefined ? await host.getLink(link.peerIndex) : undefined;
  if (end?.kind !== 'veth')
    throw broken(`${link.name} is no end of a veth pair with the host, or its host end is missing`);
  const reported = interfaces.filter(({ sandbox }) => sandbox === '');
  const own = reported.find(({ name }) => name === end.name);
  if (!own && reported.length > 0) throw broken(`the ADD did not report ${end.name}, the host end of ${link.name}`);
  if (own?.mac && own.mac.toLowerCase() !== end.mac) throw broken(`${end.name} has MAC ${end.mac}, not ${own.mac}`);
  return end;
}

/** `<namespace>/<name>`, for people. */
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

export function isAlreadyThere(error: unknown): boolean {
  return error instanceof CniError && error.code === CNI_ERROR.alreadyAttached;
}
