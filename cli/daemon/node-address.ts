/**
 * R19: the machine's address is not for ever. After a reboot, at another place, with another lease, the cluster that was set up with the old
 * one must live on: certificates, endpoints and annotations are made from the settings at each start, so that a new address needs no more
 * than settings that have it, and a start.
 */
import { networkInterfaces } from 'node:os';
import { parseIp, parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { cidrsOf } from '../cluster/addresses.ts';
import { detectIpv6Beside, detectNodeIp } from '../preflight/node-ip.ts';
import { nodeIpsOf, type Settings, writeSettings } from '../settings.ts';

const LOOK_MS = 3_000;
/** A link that is taken down and up again, or a lease that is renewed, has no address for a moment. */
const LOOKS = 2;

/** Whether this host has the addresses of the settings. */
function hasAddresses(settings: Settings): boolean {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return nodeIpsOf(settings).every((nodeIp) => own.some(({ address }) => address === nodeIp));
}

/** Addresses that are the node's own: not those of its pods' and further nodes' links. */
function isOfNode({ podCidr, serviceCidr, nodesNetwork }: Settings, address: string): boolean {
  const others = [...cidrsOf(podCidr), ...cidrsOf(serviceCidr), nodesNetwork, '172.17.0.0/16'];
  return !others.some((cidr) => prefixContains(parsePrefix(cidr), parseIp(address)));
}

/** The settings with the addresses that this host has now; undefined when it has none that would do. */
async function withCurrentAddresses(settings: Settings): Promise<Settings | undefined> {
  try {
    const nodeIp = await detectNodeIp((address) => isOfNode(settings, address));
    if (settings.nodeIp6 === undefined) return { ...settings, nodeIp };
    const nodeIp6 = detectIpv6Beside(nodeIp);
    return nodeIp6 === undefined ? undefined : { ...settings, nodeIp, nodeIp6 };
  } catch {
    return undefined;
  }
}

/**
 * At a start: settings whose addresses this host has. Those of a former place are replaced, in the file too. Where the host has no address at
 * all they stay: the start fails by name, and the next try may find one.
 */
export async function settleNodeAddress(settings: Settings, log: Logger): Promise<Settings> {
  if (hasAddresses(settings)) return settings;
  const current = await withCurrentAddresses(settings);
  if (!current) return settings;
  log.warn(
    { before: nodeIpsOf(settings), now: nodeIpsOf(current) },
    'this host has another address than the cluster was set up with: going on with that',
  );
  writeSettings(current);
  return current;
}

/** Resolves when the host has lost an address of the settings and has another one; at the signal too, with false. */
export async function nodeAddressMoved(settings: Settings, clock: Clock, signal: AbortSignal): Promise<boolean> {
  let missed = 0;
  while (!signal.aborted) {
    await clock.sleep(LOOK_MS, signal).catch(() => {});
    missed = hasAddresses(settings) ? 0 : missed + 1;
    if (!signal.aborted && missed >= LOOKS && (await withCurrentAddresses(settings))) return true;
  }
  return false;
}
