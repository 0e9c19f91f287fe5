import { parsePrefix } from '../../src/linux/ip.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { type BandwidthConfig, createBandwidth, type Shape } from '../plugins/bandwidth.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { type Fields, readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import { parseVersion } from '../wire/versions.ts';
import type { PluginDependencies } from './dependencies.ts';

const KEYS = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst', 'shapedSubnets', 'unshapedSubnets'];
const BITS_A_BYTE = 8;
const BURST_LIMIT_BYTES = 2 ** 32;

export function bandwidthProgram(deps: PluginDependencies): ProgramPlugin<BandwidthConfig> {
  return {
    type: 'bandwidth',
    parse: parseBandwidth,
    open() {
      const host = openRtnetlink(deps.hostNetns);
      return { plugin: createBandwidth(host), close: () => host.close() };
    },
  };
}

function parseBandwidth(conf: NetConf): BandwidthConfig {
  parseVersion(conf.cniVersion, '0.3.0');
  // What is written in the configuration stands above what the runtime offers, as with the reference plugin.
  const isWritten = KEYS.some((key) => conf.raw[key] !== undefined && conf.raw[key] !== null);
  const fields = isWritten ? readFields(conf.raw) : readFields(conf.runtimeConfig).section('bandwidth');
  const shapedSubnets = subnetsOf(fields, 'shapedSubnets');
  const unshapedSubnets = subnetsOf(fields, 'unshapedSubnets');
  if (shapedSubnets.length > 0 && unshapedSubnets.length > 0)
    throw wrong('shapedSubnets and unshapedSubnets exclude each other');
  const [ingress, egress] = [shapeOf(fields, 'ingress'), shapeOf(fields, 'egress')];
  return { network: conf.name, ingress, egress, shapedSubnets, unshapedSubnets };
}

/** Rate in bits a second and burst in bits; 0 or absent: no limit. */
function shapeOf(fields: Fields, direction: 'ingress' | 'egress'): Shape | undefined {
  const [rate, burst] = [fields.count(`${direction}Rate`), fields.count(`${direction}Burst`)];
  if (rate === 0 && burst === 0) return undefined;
  if (burst === 0) throw wrong(`if ${direction}Rate is set, ${direction}Burst must also be set`);
  if (rate === 0) throw wrong(`if ${direction}Burst is set, ${direction}Rate must also be set`);
  const shape = { rateBytes: Math.floor(rate / BITS_A_BYTE), burstBytes: Math.floor(burst / BITS_A_BYTE) };
  if (shape.rateBytes === 0 || shape.burstBytes === 0)
    throw wrong(`${direction}Rate and ${direction}Burst are bits: ${rate} and ${burst} are less than a byte`);
  if (shape.burstBytes >= BURST_LIMIT_BYTES - 1) throw wrong(`${direction}Burst: ${burst} bits are more than 4 GiB`);
  return shape;
}

function subnetsOf(fields: Fields, key: string): string[] {
  return fields.list(key).map((subnet) => {
    try {
      parsePrefix(String(subnet));
      return String(subnet);
    } catch (cause) {
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `bandwidth: ${key}: ${(cause as Error).message}`, { cause });
    }
  });
}

const wrong = (what: string) => new CniError(CNI_ERROR.invalidNetworkConfig, `bandwidth: ${what}`);
