import type { AttachRequest } from '../types.ts';
import type { CachedAttachment } from './attachment-cache.ts';

/** An attachment whose address came from a DHCP server, by a daemon on a socket. */
export interface DhcpAttachment {
  request: AttachRequest;
  /** Of the plugin whose address manager it is, as that one was given it. */
  conf: Readonly<Record<string, unknown>>;
  /** IPv4, without a length. */
  address: string;
}

type Raw = Readonly<Record<string, unknown>>;

/**
 * Attachments of this boot whose leases the daemon on `socketPath` is to keep. Pure.
 * @param defaultSocketPath where plugins look whose configuration does not say
 */
export function dhcpAttachments(
  attachments: readonly CachedAttachment[],
  { socketPath, defaultSocketPath }: { socketPath: string; defaultSocketPath: string },
): DhcpAttachment[] {
  return attachments.flatMap((attachment): DhcpAttachment[] => {
    const { containerId, ifname, args, result, isOfEarlierBoot } = attachment;
    if (isOfEarlierBoot || !result) return [];
    const conf = dhcpConfOf(attachment);
    const address = addressOf(result);
    const netns = attachment.netns || sandboxOf(result, ifname);
    if (!conf || !address || !netns) return [];
    if ((objectOf(conf['ipam'])['daemonSocketPath'] || defaultSocketPath) !== socketPath) return [];
    return [{ request: { containerId, ifname, netns, args }, conf, address }];
  });
}

/** Of a list, or of a configuration of one plugin. */
function dhcpConfOf({ configuration = '{}', network }: CachedAttachment): Raw | undefined {
  let whole: Raw;
  try {
    whole = objectOf(JSON.parse(configuration));
  } catch {
    return undefined;
  }
  const found = listOf(whole['plugins'] ?? [whole]).find((plugin) => objectOf(plugin['ipam'])['type'] === 'dhcp');
  return found && { ...found, name: network };
}

/** DHCP gives one address, of IPv4; others of the result are of other managers. */
function addressOf(result: Raw): string | undefined {
  const [address] = listOf(result['ips'])
    .map((ip) => String(ip['address'] ?? '').split('/')[0]!)
    .filter((text) => text !== '' && !text.includes(':'));
  return address;
}

/** Runtimes of CNI 1.0 keep a namespace's path in the result alone. */
function sandboxOf(result: Raw, ifname: string): string | undefined {
  const sandbox = listOf(result['interfaces']).find(({ name }) => name === ifname)?.['sandbox'];
  return typeof sandbox === 'string' && sandbox.startsWith('/') ? sandbox : undefined;
}

const objectOf = (value: unknown): Raw => (typeof value === 'object' && value !== null ? (value as Raw) : {});
const listOf = (value: unknown): Raw[] => (Array.isArray(value) ? value.map(objectOf) : []);
