/** The configurations of the plugins that change how a container routes. */
import { parseIp } from '../../src/linux/ip.ts';
import { createSbr, type SbrConfig } from '../plugins/sbr.ts';
import { createVrf, type VrfConfig } from '../plugins/vrf.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields } from '../wire/fields.ts';
import type { PluginDependencies } from './dependencies.ts';

export function sbrProgram({ sleep }: PluginDependencies): ProgramPlugin<SbrConfig> {
  return {
    type: 'sbr',
    parse(conf) {
      const fields = readFields(conf.raw);
      return {
        table: conf.raw['table'] === undefined ? undefined : fields.count('table'),
        gateways: parseGateways(fields.list('gateways')),
        addSourceHints: fields.flag('addSourceHints'),
        previous: conf.prevResult,
      };
    },
    open: () => ({ plugin: createSbr({ sleep }), close() {} }),
  };
}

export function vrfProgram({ sleep }: PluginDependencies): ProgramPlugin<VrfConfig> {
  return {
    type: 'vrf',
    parse(conf) {
      const fields = readFields(conf.raw);
      const vrfName = fields.linkName('vrfname');
      if (vrfName === '') throw invalid('vrfname: configuration is expected to have a valid vrf name');
      return { vrfName, table: fields.count('table') || undefined };
    },
    open: () => ({ plugin: createVrf({ sleep }), close() {} }),
  };
}

/** At most one of a family. */
function parseGateways(values: readonly unknown[]): string[] {
  const gateways = values.map((value) => {
    try {
      parseIp(String(value));
      return String(value);
    } catch (cause) {
      throw invalid(`gateways: ${JSON.stringify(value)} is no IP address`, cause);
    }
  });
  const families = gateways.map((one) => one.includes(':'));
  if (new Set(families).size !== families.length)
    throw invalid(`gateways: ${JSON.stringify(gateways)}: at most one IPv4 and one IPv6 address`);
  return gateways;
}

const invalid = (message: string, cause?: unknown) => new CniError(CNI_ERROR.invalidNetworkConfig, message, { cause });
