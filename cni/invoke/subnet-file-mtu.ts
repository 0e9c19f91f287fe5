import { readFileSync, statSync } from 'node:fs';
import { formatPrefix, networkOf, parsePrefix } from '../../src/linux/ip.ts';
import { parseSubnetFile } from '../plugins/flannel-subnet.ts';

/**
 * The MTU of an overlay that is another program of this node (`berth overlay`, flanneld), from the file that it writes; undefined without
 * one, and for a file of another pod network than the node's. The file is read again when it has changed.
 */
export function createSubnetFileMtu(file: string): (podCidrs: readonly string[]) => number | undefined {
  let known: { mtimeMs: number; mtu: number; subnets: string[] } | undefined;
  return (podCidrs) => {
    const mtimeMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
    if (mtimeMs === undefined) return undefined;
    if (known?.mtimeMs !== mtimeMs) known = { mtimeMs, ...read(file) };
    return podCidrs.some((cidr) => known?.subnets.includes(cidr)) ? known.mtu : undefined;
  };
}

function read(file: string): { mtu: number; subnets: string[] } {
  try {
    const { mtu, subnets } = parseSubnetFile(readFileSync(file, 'utf8'), file);
    return { mtu, subnets: subnets.map((address) => formatPrefix(networkOf(parsePrefix(address)))) };
  } catch {
    // Half a file, or none any more: its next change tells.
    return { mtu: 0, subnets: [] };
  }
}
