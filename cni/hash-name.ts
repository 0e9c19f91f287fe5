import { createHash } from 'node:crypto';

/** iptables takes chains' names of up to 28 characters. */
const CHAIN_LENGTH = 28;

/**
 * `CNI-DN-3b5a…`: the name that the reference plugins give to a chain of one container on one network (pkg/utils of
 * containernetworking/plugins). Equal names are what lets either detach what the other attached.
 */
export function cniChainName(network: string, containerId: string, prefix = ''): string {
  return hashName(CHAIN_LENGTH, `CNI-${prefix}`, network + containerId);
}

/** A prefix and as much of the SHA-512 of `text` (hex) as the length leaves room for. */
export function hashName(length: number, prefix: string, text: string): string {
  return `${prefix}${createHash('sha512').update(text).digest('hex')}`.slice(0, length);
}
