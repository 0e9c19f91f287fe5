/*
 * By what the rules of one attachment are told from all others. Names and comments are the reference plugins' (pkg/utils and pkg/ip of
 * containernetworking/plugins), so that either removes what the other made.
 */
import { hashName } from '../hash-name.ts';
import type { AttachmentKey } from '../types.ts';

const HASH_LENGTH = 16;
/** What nf_tables takes at most. */
const COMMENT_LIMIT = 128;

/** Of every iptables rule of the chain, and of the jump to it. */
export function iptablesComment(network: string, containerId: string): string {
  return `name: "${network}" id: "${containerId}"`;
}

/** Which network and container a rule of iptables-save is about; undefined for any other rule. */
export function parseIptablesComment(rule: string): { network: string; containerId: string } | undefined {
  const found = /--comment "name: \\"([^"\\]+)\\" id: \\"([^"\\]+)\\""/.exec(rule);
  return found ? { network: found[1]!, containerId: found[2]! } : undefined;
}

/** nftables: what the comments of a network's rules begin with. */
export function networkTag(network: string): string {
  return hashName(HASH_LENGTH, '', network);
}

/** What the comment of an attachment's rules begins with. */
export function attachmentTag(network: string, { ifname, containerId }: AttachmentKey): string {
  return `${networkTag(network)}-${hashName(HASH_LENGTH, '', `${ifname}:${containerId}`)}`;
}

/** The tag, then something for people, which may be cut. */
export function nftablesComment(network: string, key: AttachmentKey): string {
  return `${attachmentTag(network, key)}, net: ${network}, if: ${key.ifname}, id: ${key.containerId}`.slice(
    0,
    COMMENT_LIMIT,
  );
}
