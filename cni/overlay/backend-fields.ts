import { ExplainedError } from '../../src/runtime/explained-error.ts';

/** The keys of net-conf.json's `Backend` object, of which each backend reads its own. */
export interface BackendFields {
  text(key: string, otherwise?: string): string;
  /** A whole number within the bounds, both included. */
  whole(key: string, accepted: { min: number; max: number; otherwise: number }): number;
  flag(key: string, otherwise?: boolean): boolean;
  oneOf<T extends string>(key: string, accepted: readonly T[], otherwise: T): T;
  texts(key: string): string[];
  /** Keys that nobody has read: mistyped, or another backend's. */
  unread(): string[];
}

/**
 * Absent and null mean the default. As flanneld's reader does, this one takes keys in upper and lower case alike.
 * @param where names the file or flag for the errors.
 * @throws ExplainedError naming where, key, value and what is accepted.
 */
export function readBackendFields(raw: Readonly<Record<string, unknown>>, where: string): BackendFields {
  const given = new Map(Object.entries(raw).map(([key, value]) => [key.toLowerCase(), { key, value }]));
  const read = new Set(['type']);

  function field<T>(key: string, otherwise: T, accepted: string, isOne: (value: unknown) => boolean): T {
    read.add(key.toLowerCase());
    const value = given.get(key.toLowerCase())?.value ?? otherwise;
    if (value !== otherwise && !isOne(value))
      throw new ExplainedError(`${where}: Backend.${key}: ${JSON.stringify(value)} is not ${accepted}`);
    return value as T;
  }

  return {
    text: (key, otherwise = '') => field(key, otherwise, 'a text', (value) => typeof value === 'string'),
    whole: (key, { min, max, otherwise }) =>
      field(
        key,
        otherwise,
        `a whole number from ${min} to ${max}`,
        (value) => Number.isInteger(value) && Number(value) >= min && Number(value) <= max,
      ),
    flag: (key, otherwise = false) => field(key, otherwise, 'true or false', (value) => typeof value === 'boolean'),
    oneOf: (key, accepted, otherwise) =>
      field(key, otherwise, `one of ${accepted.join(', ')}`, (value) =>
        (accepted as readonly unknown[]).includes(value),
      ),
    texts: (key) =>
      field<string[]>(
        key,
        [],
        'a list of texts',
        (value) => Array.isArray(value) && value.every((one) => typeof one === 'string'),
      ),
    unread: () => [...given].filter(([key]) => !read.has(key)).map(([, { key }]) => key),
  };
}
