import { CNI_ERROR, CniError } from '../types.ts';
import { interfaceNameProblem } from './environment.ts';

type Raw = Readonly<Record<string, unknown>>;

/** Keys that any configuration may have; runtimes add some of them. */
const COMMON = ['cniVersion', 'name', 'type', 'ipam', 'prevResult', 'runtimeConfig', 'args', 'dns', 'capabilities'];

/** The kernel's own for links of the kinds that the plugins make (ETH_MAX_MTU). */
const MTU_LIMIT = 65_535;

/**
 * Reads the keys of a plugin's own. Absent and null mean the default.
 * @throws CniError 7 naming key, value and what is accepted.
 */
export function readFields(raw: Raw) {
  const read = <T>(key: string, otherwise: T, accepted: string, isOne: (value: unknown) => value is T): T => {
    const value = raw[key] ?? otherwise;
    if (value !== otherwise && !isOne(value))
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `${key}: ${JSON.stringify(value)} is not ${accepted}`);
    return value as T;
  };
  const text = (key: string, otherwise = '') => read(key, otherwise, 'a text', (value) => typeof value === 'string');
  return {
    text,
    /** Of a link that is there or is to be made; empty: the default. */
    linkName(key: string, otherwise = ''): string {
      const name = text(key) || otherwise;
      const problem = interfaceNameProblem(name);
      if (problem === undefined) return name;
      throw new CniError(
        CNI_ERROR.invalidNetworkConfig,
        `${key}: ${JSON.stringify(name)} is no link's name: ${problem}`,
      );
    },
    /** Bytes; undefined for 0 and absent: the kernel's choice. */
    mtu: () =>
      read(
        'mtu',
        0,
        `a size in bytes up to ${MTU_LIMIT}`,
        (value): value is number => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MTU_LIMIT,
      ) || undefined,
    flag: (key: string, otherwise = false) =>
      read(key, otherwise, 'true or false', (value) => typeof value === 'boolean'),
    count: (key: string, otherwise = 0) =>
      read(
        key,
        otherwise,
        'a whole number, 0 or more',
        (value): value is number => Number.isInteger(value) && Number(value) >= 0,
      ),
    list: (key: string) => read<unknown[]>(key, [], 'a list', (value) => Array.isArray(value)),
    texts: (key: string) =>
      read<string[]>(
        key,
        [],
        'a list of texts',
        (value): value is string[] => Array.isArray(value) && value.every((one) => typeof one === 'string'),
      ),
    section: (key: string) =>
      readFields(
        read<Raw>(key, {}, 'an object', (value): value is Raw => typeof value === 'object' && !Array.isArray(value)),
      ),
    raw,
  };
}

export type Fields = ReturnType<typeof readFields>;

/**
 * Keys that the reference plugin acts upon and this one does not yet: left out in silence they would be a network that is not as
 * its administrator thinks. A key that nobody knows is ignored, as everywhere in CNI.
 * @throws CniError 2.
 */
export function refuseKeys(raw: Raw, type: string, keys: readonly string[]): void {
  const found = keys.find(
    (key) =>
      !COMMON.includes(key) && raw[key] !== undefined && raw[key] !== null && raw[key] !== false && raw[key] !== 0,
  );
  if (found !== undefined)
    throw new CniError(CNI_ERROR.unsupportedField, `${type}: ${found} is not supported`, {
      details: `${found}: ${JSON.stringify(raw[found])}; leave it out, or use the reference plugin`,
    });
}
