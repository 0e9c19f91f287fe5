import { CNI_ERROR, CniError } from '../types.ts';
import { readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import { refuseUnknownArguments } from './arguments.ts';

/**
 * The MAC that a container's interface is wanted to have, as the reference plugins order it: the runtime's word (capability `mac`) above
 * that of CNI_ARGS (`MAC=…`), above the configuration's own.
 * @returns in lower case with colons; undefined when nobody says.
 * @throws CniError 7 for what is no MAC, 4 for an argument that nobody knows without `IgnoreUnknown=1`.
 */
export function wantedMac(
  conf: NetConf,
  args: Readonly<Record<string, string>>,
  configured: string,
): string | undefined {
  refuseUnknownArguments(args, ['MAC']);
  const offered = readFields(conf.runtimeConfig).text('mac');
  const mac = offered || args['MAC'] || configured;
  return mac === '' ? undefined : parseConfiguredMac('mac', mac);
}

/** With colons or dashes. @throws CniError 7 naming the key. */
export function parseConfiguredMac(key: string, text: string): string {
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac))
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `${key}: ${JSON.stringify(text)} is no MAC address`, {
      details: 'write it like 0a:58:0a:f4:01:05',
    });
  // The kernel's answer to it names neither key nor reason.
  if ((Number.parseInt(mac, 16) & 1) === 1 || /^[0:]+$/.test(mac))
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `${key}: ${JSON.stringify(text)} is no MAC of one interface`, {
      details: 'the first byte is even, and not all are zero',
    });
  return mac;
}
