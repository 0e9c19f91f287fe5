import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { parseNodeLabels } from '../../agent/node/node-labels.ts';
import { UserError } from '../output/failure.ts';

/** `--node-ip`: one address, or one of each family with a comma between, the primary one first. @throws UserError */
export function parseNodeIps(text: string): string[] {
  const ips = text.split(',').map((one) => one.trim());
  for (const ip of ips) {
    const range = isIP(ip) ? ipaddr.parse(ip).range() : undefined;
    if (range === undefined || ['unspecified', 'loopback', 'multicast', 'broadcast', 'linkLocal'].includes(range))
      throw new UserError(
        `--node-ip ${text}: ${JSON.stringify(ip)} is ${range ? `a ${range} address` : 'no IP address'}; accepted: an address that other nodes reach, or one of each family with a comma between`,
      );
  }
  if (ips.length > 2 || (ips.length === 2 && isIP(ips[0]!) === isIP(ips[1]!)))
    throw new UserError(`--node-ip ${text}: accepted: one address, or one IPv4 and one IPv6 address`);
  return ips;
}

/** `--node-labels` and `--cloud-provider`. @throws UserError */
export function parseNodeIdentity(flags: { nodeLabels?: string; cloudProvider?: string }): {
  nodeLabels: Record<string, string>;
  hasExternalCloud: boolean;
} {
  const { cloudProvider = '' } = flags;
  if (cloudProvider !== '' && cloudProvider !== 'external')
    throw new UserError(
      `--cloud-provider ${cloudProvider}: accepted: external, for a cloud whose controller runs in the cluster, or none`,
    );
  try {
    return { nodeLabels: parseNodeLabels(flags.nodeLabels ?? ''), hasExternalCloud: cloudProvider === 'external' };
  } catch (error) {
    throw new UserError((error as Error).message);
  }
}
