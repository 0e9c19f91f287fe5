import { CNI_ERROR, CniError } from '../types.ts';

type Raw = Readonly<Record<string, unknown>>;

/** Keys that any configuration may have; runtimes add some of them. */
const COMMON = ['cniVersion', 'name', 'type', 'ipam', 'prevResult', 'runtimeConfig', 'args', 'dns', 'capabilities'];

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
  return {
    text: (key: string, otherwise = '') => read(key, otherwise, 'a text', (value) => typeof value === 'string'),
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
