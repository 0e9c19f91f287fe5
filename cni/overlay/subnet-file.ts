import { chmodSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatIp, fromBigInt, networkOf, parsePrefix, toBigInt } from '../../src/linux/ip.ts';
import type { PerFamily } from './backend.ts';

/** What flannel's delegating CNI plugin reads: where this node's pods get their addresses, and how large their packets may be. */
export interface SubnetFile {
  networks: PerFamily<string>;
  podCidrs: PerFamily<string>;
  mtu: number;
  /** Somebody on this node masquerades what leaves the cluster; the plugin then tells its bridge not to. */
  ipMasq: boolean;
}

/** The subnet is written with its first address, as flanneld does: the bridge's. */
export function renderSubnetFile({ networks, podCidrs, mtu, ipMasq }: SubnetFile): string {
  const lines: string[] = [];
  for (const [family, infix] of [
    [4, ''],
    [6, 'IPV6_'],
  ] as const) {
    const [network, podCidr] = [networks[family], podCidrs[family]];
    if (!network || !podCidr) continue;
    const subnet = networkOf(parsePrefix(podCidr));
    const first = formatIp(fromBigInt(toBigInt(subnet.address) + 1n, family));
    lines.push(`FLANNEL_${infix}NETWORK=${network}`, `FLANNEL_${infix}SUBNET=${first}/${subnet.prefixLength}`);
  }
  return `${[...lines, `FLANNEL_MTU=${mtu}`, `FLANNEL_IPMASQ=${ipMasq}`].join('\n')}\n`;
}

/** Whole or not at all; a mode that somebody has given it stays. @returns whether it was written. */
export function writeSubnetFile(path: string, content: string): boolean {
  const now = read(path);
  if (now === content) return false;
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const next = `${path}.new`;
  writeFileSync(next, content, { mode: 0o644 });
  chmodSync(next, now === undefined ? 0o644 : statSync(path).mode & 0o777);
  renameSync(next, path);
  return true;
}

/** The file, and its folder where nothing else is in it. Idempotent. */
export function removeSubnetFile(path: string): void {
  rmSync(path, { force: true });
  try {
    rmdirSync(dirname(path));
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EBUSY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
