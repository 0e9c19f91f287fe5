import { parseIp, parsePrefix } from '../../src/linux/ip.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { parseBandwidth } from './bandwidth.ts';
import type { CapabilityArgs } from './chain.ts';
import type { NetworkConfiguration } from './network-configuration.ts';

/** One host port, as the capability `portMappings` has it. */
export interface PortMapping {
  hostPort: number;
  containerPort: number;
  protocol: 'tcp' | 'udp' | 'sctp';
  hostIP?: string;
}

export interface CapabilitySource {
  hostPorts: readonly PortMapping[];
  annotations?: Readonly<Record<string, string>>;
  /** The node's; one of each family. */
  podCidrs: readonly string[];
}

/** Addresses, with or without a length, commas between; and a MAC. Only a network whose plugins declare the capability heeds them. */
const IPS_ANNOTATION = 'berth/pod-ips';
const MAC_ANNOTATION = 'berth/pod-mac';

/** Each capability and where its value comes from; undefined when the pod has nothing of it. The names are CNI's conventions. */
const SOURCES: Record<string, (source: CapabilitySource) => unknown> = {
  portMappings: ({ hostPorts }) => (hostPorts.length > 0 ? hostPorts : undefined),
  bandwidth: ({ annotations = {} }) => parseBandwidth(annotations),
  ipRanges: ({ podCidrs }) => (podCidrs.length > 0 ? podCidrs.map((subnet) => [{ subnet }]) : undefined),
  ips: ({ annotations = {} }) => parseIps(annotations[IPS_ANNOTATION]),
  mac: ({ annotations = {} }) => parseMac(annotations[MAC_ANNOTATION]),
  'io.kubernetes.cri.pod-annotations': ({ annotations }) => annotations,
};

/** What the pod has of what the network's plugins ask for. Pure. @throws CniError 7 for an annotation that is none. */
export function computeCapabilityArgs(network: NetworkConfiguration, source: CapabilitySource): CapabilityArgs {
  const wanted = new Set(network.plugins.flatMap(({ capabilities }) => capabilities));
  const entries = [...wanted].map((name) => [name, SOURCES[name]?.(source)] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function parseIps(text: string | undefined): string[] | undefined {
  if (!text) return undefined;
  return text.split(',').map((one) => {
    const ip = one.trim();
    try {
      if (ip.includes('/')) parsePrefix(ip);
      else parseIp(ip);
      return ip;
    } catch (cause) {
      throw wrong(IPS_ANNOTATION, text, (cause as Error).message);
    }
  });
}

function parseMac(text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text))
    throw wrong(MAC_ANNOTATION, text, 'expected six hex pairs with : between');
  return text.toLowerCase();
}

const wrong = (annotation: string, value: string, why: string) =>
  new CniError(CNI_ERROR.invalidNetworkConfig, `annotation ${annotation}: ${JSON.stringify(value)}: ${why}`);
