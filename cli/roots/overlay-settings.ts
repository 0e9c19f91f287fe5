import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { readBackendFields } from '../../cni/overlay/backend-fields.ts';
import { BACKENDS } from '../../cni/overlay/backends.ts';
import { type NetConf, netConfOf, parseNetConf } from '../../cni/overlay/net-conf.ts';
import type { UplinkChoice } from '../../cni/overlay/uplink.ts';
import { run } from '../../src/linux/exec.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { UserError } from '../output/failure.ts';

/** What decides an overlay: flannel's file, or a backend's name and the pods' addresses. */
export interface OverlaySource {
  /** flannel's net-conf.json. */
  netConfigPath?: string;
  /** Without a file, with its defaults; beside one it must be what the file says. */
  backend?: string;
  clusterCidr: string;
}

/** Whether pods' packets go within others, which leave by one link. */
export function isTunnel({ backend }: NetConf): boolean {
  return (BACKENDS.get(backend.type)?.links.length ?? 0) > 0;
}

/**
 * @throws UserError, ExplainedError naming the file or flag, the key, the value and what is accepted.
 */
export function readOverlaySource(source: OverlaySource, onWarning: (message: string) => void): NetConf {
  const { netConfigPath, backend, clusterCidr } = source;
  if (netConfigPath === undefined) {
    const name = backend ?? 'host-gw';
    return netConfOf(clusterCidr, name, `--backend ${name}`);
  }
  let text: string;
  try {
    text = readFileSync(netConfigPath, 'utf8');
  } catch (error) {
    throw new UserError(`--net-config-path ${netConfigPath}: cannot be read: ${(error as Error).message}`);
  }
  const { conf, unknown } = parseNetConf(text, netConfigPath);
  if (backend !== undefined && backend !== conf.backend.type)
    throw new UserError(
      `--backend ${backend}: ${netConfigPath} says ${conf.backend.type}; leave the flag out, or change the file`,
    );
  if (unknown.length > 0) onWarning(`${netConfigPath}: unknown keys are ignored: ${unknown.join(', ')}`);
  return conf;
}

/** What only the backend knows of its options. @throws ExplainedError naming key, value and what is accepted. */
export async function checkBackendOptions({ backend, where }: NetConf): Promise<void> {
  const fields = readBackendFields(backend.raw, where);
  const opened = await BACKENDS.get(backend.type)!.open(fields, { log: silentLogger, clock: systemClock, run });
  opened.close();
}

/** The uplink of a node that was told its addresses. */
export function uplinkOfNode(
  conf: NetConf,
  nodeIps: readonly string[],
  machineIps: readonly string[] = [],
): UplinkChoice {
  return {
    ifaces: [],
    ifaceRegexes: [],
    publicIps: {},
    nodeIps: isTunnel(conf) ? [...machineIps, ...nodeIps] : nodeIps,
    preferNodeIps: true,
  };
}

export interface UplinkFlags {
  iface?: string[];
  ifaceRegex?: string[];
  ifaceCanReach?: string;
  publicIp?: string;
  publicIpv6?: string;
}

/** flanneld's flags for the uplink. @throws UserError naming flag and value. */
export function parseUplinkFlags(flags: UplinkFlags): Omit<UplinkChoice, 'nodeIps' | 'preferNodeIps'> {
  const ip = (flag: string, text: string | undefined, family: 4 | 6) => {
    if (text !== undefined && isIP(text) !== family) throw new UserError(`${flag} ${text}: is no IPv${family} address`);
    return text;
  };
  const regex = (text: string) => {
    try {
      return new RegExp(text);
    } catch (error) {
      throw new UserError(`--iface-regex ${text}: ${(error as Error).message}`);
    }
  };
  const { ifaceCanReach } = flags;
  if (ifaceCanReach !== undefined && isIP(ifaceCanReach) === 0)
    throw new UserError(`--iface-can-reach ${ifaceCanReach}: is no IP address`);
  const [four, six] = [ip('--public-ip', flags.publicIp, 4), ip('--public-ipv6', flags.publicIpv6, 6)];
  return {
    ifaces: flags.iface ?? [],
    ifaceRegexes: (flags.ifaceRegex ?? []).map(regex),
    ...(ifaceCanReach !== undefined && { ifaceCanReach }),
    publicIps: { ...(four !== undefined && { 4: four }), ...(six !== undefined && { 6: six }) },
  };
}
