/**
 * R19: the machine's address is not for ever. After a reboot, at another place, with another lease, the cluster that was set up with the old
 * one must live on: certificates, endpoints and annotations are made from the settings at each start, so that a new address needs no more
 * than settings that have it, and a start.
 */
import { networkInterfaces } from 'node:os';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { cidrsOf } from '../cluster/addresses.ts';
import { detectIpv6Beside, detectNodeIp, isOutside } from '../preflight/node-ip.ts';
import { nodeIpsOf, type Settings, writeSettings } from '../settings.ts';

const LOOK_MS = 3_000;
/** A link that is taken down and up again, or a lease that is renewed, has no address for a moment. */
const LOOKS = 2;

/** A node's addresses, and the ranges in which addresses of this host's links are none of the node's own. */
export interface NodeAddresses {
  nodeIps: readonly string[];
  othersCidrs: readonly string[];
}

/** Docker's bridge, unless somebody has moved it. */
const DOCKER_RANGE = '172.17.0.0/16';

function addressesOf(settings: Settings): NodeAddresses {
  const { podCidr, serviceCidr, nodesNetwork } = settings;
  return { nodeIps: nodeIpsOf(settings), othersCidrs: [...cidrsOf(podCidr), ...cidrsOf(serviceCidr), nodesNetwork] };
}

function hasAddresses({ nodeIps }: NodeAddresses): boolean {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return nodeIps.every((nodeIp) => own.some(({ address }) => address === nodeIp));
}

/** As many as the node has: one, or one of each family. undefined when this host has none that would do. */
async function findAddresses({ nodeIps, othersCidrs }: NodeAddresses): Promise<[string, string?] | undefined> {
  try {
    const nodeIp = await detectNodeIp(isOutside([...othersCidrs, DOCKER_RANGE]));
    if (nodeIps.length === 1) return [nodeIp];
    const nodeIp6 = detectIpv6Beside(nodeIp);
    return nodeIp6 === undefined ? undefined : [nodeIp, nodeIp6];
  } catch {
    return undefined;
  }
}

/**
 * At a start: settings whose addresses this host has. Those of a former place are replaced, in the file too. Where the host has no address at
 * all they stay: the start fails by name, and the next try may find one.
 */
export async function settleNodeAddress(settings: Settings, log: Logger): Promise<Settings> {
  const recorded = addressesOf(settings);
  if (hasAddresses(recorded)) return settings;
  const found = await findAddresses(recorded);
  if (!found) return settings;
  const [nodeIp, nodeIp6] = found;
  log.warn(
    { before: recorded.nodeIps, now: found },
    'this host has another address than the cluster was set up with: going on with that',
  );
  const current = { ...settings, nodeIp, ...(nodeIp6 !== undefined && { nodeIp6 }) };
  writeSettings(current);
  return current;
}

/** Ends what depends on a node's addresses when the host has others, and executes this process anew. */
export interface AddressWatch {
  /** Aborted at a move. */
  readonly signal: AbortSignal;
  /** For when all parts have ended: does not return after a move, does nothing otherwise. */
  startAnewIfMoved(): void;
}

/** Looks until `asked` is aborted: who is told to end ends. `of` undefined: nothing to look at. */
export function watchNodeAddress(
  of: NodeAddresses | Settings | undefined,
  { clock, log }: { clock: Clock; log: Logger },
  asked: AbortSignal,
): AddressWatch {
  const addresses = of && ('nodeIps' in of ? of : addressesOf(of));
  const moved = new AbortController();

  async function look(): Promise<void> {
    for (let missed = 0; addresses && !asked.aborted; ) {
      await clock.sleep(LOOK_MS, asked).catch(() => {});
      missed = hasAddresses(addresses) ? 0 : missed + 1;
      if (asked.aborted || missed < LOOKS || !(await findAddresses(addresses))) continue;
      moved.abort();
      return;
    }
  }
  look();

  return {
    signal: moved.signal,
    startAnewIfMoved() {
      if (!moved.signal.aborted || asked.aborted) return;
      log.warn({ before: addresses?.nodeIps }, 'this host has another address now: starting anew');
      process.execve!(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], process.env);
    },
  };
}
