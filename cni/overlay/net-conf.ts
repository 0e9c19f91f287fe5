import { formatPrefix, networkOf, parsePrefix } from '../../src/linux/ip.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import type { PerFamily } from './backend.ts';
import { BACKENDS } from './backends.ts';

/** What the overlay is to be, as flannel's net-conf.json says it. */
export interface NetConf {
  /** All pods of the cluster: `Network` and `IPv6Network`. */
  networks: PerFamily<string>;
  /** The `Backend` object, `Type` in it. */
  backend: { type: string; raw: Readonly<Record<string, unknown>> };
  /** The file or flag that it comes from, for errors. */
  where: string;
}

/** Keys that choose subnets where etcd keeps them; with the API server it is the controller manager that does. */
const ETCD_ONLY = ['SubnetLen', 'SubnetMin', 'SubnetMax', 'IPv6SubnetLen', 'IPv6SubnetMin', 'IPv6SubnetMax'];
const KNOWN = ['Network', 'IPv6Network', 'EnableIPv4', 'EnableIPv6', 'EnableNFTables', 'Backend', ...ETCD_ONLY];

/**
 * @returns the configuration, and keys in it that nothing reads.
 * @throws ExplainedError naming the file, the key, the value and what is accepted.
 */
export function parseNetConf(text: string, where: string): { conf: NetConf; unknown: string[] } {
  const raw = parseObject(text, where);
  const given = new Map(Object.entries(raw).map(([key, value]) => [key.toLowerCase(), { key, value }]));
  const value = (key: string) => given.get(key.toLowerCase())?.value ?? undefined;
  const flag = (key: string, otherwise: boolean) => {
    const said = value(key) ?? otherwise;
    if (typeof said !== 'boolean') throw refusal(where, key, said, 'true or false');
    return said;
  };
  const networks: PerFamily<string> = {};
  if (flag('EnableIPv4', true)) networks[4] = parseNetwork(value('Network'), 4, where, 'Network');
  if (flag('EnableIPv6', false)) networks[6] = parseNetwork(value('IPv6Network'), 6, where, 'IPv6Network');
  if (!networks[4] && !networks[6])
    throw new ExplainedError(`${where}: EnableIPv4 and EnableIPv6 are both false: the overlay needs one of them`);
  flag('EnableNFTables', false);
  const backend = value('Backend') ?? {};
  if (typeof backend !== 'object' || Array.isArray(backend)) throw refusal(where, 'Backend', backend, 'an object');
  const known = new Set(KNOWN.map((key) => key.toLowerCase()));
  return {
    conf: { networks, backend: parseBackend(backend as Record<string, unknown>, where), where },
    unknown: [...given].filter(([key]) => !known.has(key)).map(([, { key }]) => key),
  };
}

/** The same from flags alone: `10.244.0.0/16`, or one of each family with a comma between. */
export function netConfOf(clusterCidrs: string, backendType: string, where: string): NetConf {
  const networks: PerFamily<string> = {};
  for (const cidr of clusterCidrs.split(',')) {
    const family = cidr.includes(':') ? 6 : 4;
    networks[family] = parseNetwork(cidr.trim(), family, where, 'cluster CIDR');
  }
  return { networks, backend: parseBackend({ Type: backendType }, where), where };
}

function parseObject(text: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ExplainedError(`${where}: is no JSON: ${(error as Error).message}`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ExplainedError(`${where}: is no JSON object`);
  return value as Record<string, unknown>;
}

function parseNetwork(value: unknown, family: 4 | 6, where: string, key: string): string {
  const accepted = family === 4 ? 'a CIDR such as 10.244.0.0/16' : 'a CIDR such as fd00:10:244::/56';
  if (typeof value !== 'string') throw refusal(where, key, value, accepted);
  try {
    const prefix = parsePrefix(value);
    if (prefix.family === family) return formatPrefix(networkOf(prefix));
  } catch {}
  throw refusal(where, key, value, accepted);
}

function parseBackend(raw: Record<string, unknown>, where: string): NetConf['backend'] {
  const [, type] = Object.entries(raw).find(([key]) => key.toLowerCase() === 'type') ?? [];
  // As flanneld has it: nodes with one file between them must agree.
  const name = type ?? 'udp';
  if (typeof name !== 'string' || !BACKENDS.has(name))
    throw refusal(where, 'Backend.Type', name, `one of ${[...BACKENDS.keys()].join(', ')}`);
  return { type: name, raw };
}

function refusal(where: string, key: string, value: unknown, accepted: string): ExplainedError {
  return new ExplainedError(
    value === undefined
      ? `${where}: ${key} is missing: ${accepted}`
      : `${where}: ${key}: ${JSON.stringify(value)} is not ${accepted}`,
  );
}
