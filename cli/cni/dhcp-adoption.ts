import { openAttachmentCache } from '../../cni/invoke/attachment-cache.ts';
import { type DhcpAttachment, dhcpAttachments } from '../../cni/invoke/dhcp-attachments.ts';
import { DEFAULT_DHCP_SOCKET } from '../../cni/ipam/dhcp/dhcp.ts';
import type { LeaseHolder } from '../../cni/ipam/dhcp/lease-holder.ts';
import { keptByProcess } from '../../cni/ipam/dhcp/process-leases.ts';
import { readDhcpConf } from '../../cni/programs/dhcp.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import type { Logger } from '../../src/runtime/log.ts';

/** Servers are asked for this many leases at a time. */
const AT_A_TIME = 8;

/**
 * A daemon that stands in for another one takes over the leases of containers that are there: the reference daemon keeps its own in memory
 * alone, and few runtimes ever CHECK. They are in the files of libcni; servers give each container its own address again, or it is told.
 * What the agent keeps itself stays with it. Never rejects.
 */
export async function adoptLeases(
  holder: LeaseHolder,
  options: { cacheDir: string; hostPrefix: string; socketPath: string },
  { log, signal }: { log: Logger; signal: AbortSignal },
): Promise<void> {
  if (options.cacheDir === '') return;
  const waiting = attachmentsOf(options, log).filter(({ request }) => netnsExists(request.netns));

  async function adopt({ request, conf, address }: DhcpAttachment): Promise<void> {
    const name = { container: request.containerId, network: conf['name'], link: request.ifname, address };
    try {
      await holder.check(readDhcpConf(conf, request.args), request, address);
    } catch (error) {
      if (!signal.aborted)
        log.error({ ...name, err: error }, 'the DHCP lease of a running container could not be taken over');
    }
  }
  async function adoptNext(): Promise<void> {
    for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) await adopt(next);
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, adoptNext));
}

/** With namespaces' paths as this process sees them. */
function attachmentsOf(
  { cacheDir, hostPrefix, socketPath }: { cacheDir: string; hostPrefix: string; socketPath: string },
  log: Logger,
): DhcpAttachment[] {
  try {
    const cache = openAttachmentCache(hostPrefix + cacheDir);
    for (const problem of cache.problems) log.warn({ problem }, 'a file of libcni can’t be read');
    const isKept = keptByProcess(hostPrefix);
    return dhcpAttachments(cache.list(), { socketPath, defaultSocketPath: DEFAULT_DHCP_SOCKET })
      .filter(({ request, conf }) => !isKept({ ...request, network: String(conf['name']) }))
      .map((one) => ({ ...one, request: { ...one.request, netns: hostPrefix + one.request.netns } }));
  } catch (error) {
    log.warn({ err: error, cacheDir }, 'leases of other daemons are not looked for');
    return [];
  }
}
