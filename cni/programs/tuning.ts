import { createTuning, type TuningConfig } from '../plugins/tuning.ts';
import { DEFAULT_TUNING_DIR } from '../plugins/tuning-backup.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { type Fields, readFields } from '../wire/fields.ts';
import { parseConfiguredMac, wantedMac } from './mac.ts';

/** What `args.cni` says stands above all else, as in the reference plugin. */
export const tuningProgram: ProgramPlugin<TuningConfig> = {
  type: 'tuning',
  parse(conf, args) {
    const fields = readFields(conf.raw);
    const perContainer = fields.section('args').section('cni');
    const layered = (key: string) => (isSaid(perContainer, key) ? perContainer : fields);
    const count = (key: string) => (isSaid(layered(key), key) ? layered(key).count(key) : undefined);
    const flag = (key: string) => (isSaid(layered(key), key) ? layered(key).flag(key) : undefined);
    const mac = perContainer.text('mac');
    return {
      network: conf.name,
      dataDir: fields.text('dataDir') || DEFAULT_TUNING_DIR,
      sysctls: { ...sysctlsOf(fields), ...sysctlsOf(perContainer) },
      mac: mac === '' ? wantedMac(conf, args, fields.text('mac')) : parseConfiguredMac('args.cni.mac', mac),
      promiscuous: flag('promisc') ?? false,
      mtu: count('mtu') || undefined,
      allMulticast: flag('allmulti'),
      txQueueLength: count('txQLen'),
    };
  },
  open: () => ({ plugin: createTuning(), close() {} }),
};

const isSaid = ({ raw }: Fields, key: string) => raw[key] !== undefined && raw[key] !== null;

function sysctlsOf(fields: Fields): Record<string, string> {
  const { raw } = fields.section('sysctl');
  return Object.fromEntries(
    Object.entries(raw).map(([key, value]) => {
      if (typeof value === 'string') return [key, value];
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `sysctl: ${key}: ${JSON.stringify(value)} is not a text`, {
        details: 'write numbers in quotes too',
      });
    }),
  );
}
