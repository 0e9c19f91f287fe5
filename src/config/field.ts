import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { isQuantity, bytes as quantityBytes } from '../kube/quantity.ts';
import { parseGoDurationMs } from './duration.ts';

/**
 * How far Berth carries a field that upstream knows.
 * - supported: the value takes effect.
 * - deferred: any valid value is taken, with a warning that it has no effect yet (nothing gets less safe or less right by that).
 * - unsupported: refused by name when the value differs from the default.
 * - ignored: it speaks of another system or runtime; any value passes in silence.
 */
export type Support = 'supported' | 'deferred' | 'unsupported' | 'ignored';

/** One field of a configuration kind. `Suffix` is what the parsed property's name gets: `syncPeriod` → `syncPeriodMs`. */
export interface Field<T = unknown, Suffix extends string = string> {
  readonly schema: z.ZodType<T>;
  readonly suffix: Suffix;
  readonly fallback: T;
  readonly support: Support;
  /** What is accepted, for the error message: "an integer from 0 to 31". */
  readonly accepts: string;
  /** Raw values which upstream's defaulting replaces, beside null: `""`, `0s`, `0`. */
  readonly unset: readonly unknown[];
  /** A flag's text as the raw value that a file would hold. */
  fromFlag(text: string): unknown;
}

export interface FieldTree {
  readonly [name: string]: Field | FieldTree;
}

/** Whether a node of the tree is a field rather than a group of fields. */
export function isField(node: Field | FieldTree): node is Field {
  return 'schema' in node && 'fallback' in node;
}

/** The parsed configuration: frozen, durations as `…Ms`, quantities of bytes as `…Bytes`. */
export type ConfigOf<Tree> = {
  readonly [Name in keyof Tree & string as Tree[Name] extends Field<infer _T, infer Suffix>
    ? `${Name}${Suffix}`
    : Name]: Tree[Name] extends Field<infer T, infer _S> ? T : ConfigOf<Tree[Name]>;
};

export function deferred<F extends Field>(field: F): F {
  return { ...field, support: 'deferred' };
}
export function unsupported<F extends Field>(field: F): F {
  return { ...field, support: 'unsupported' };
}
export function ignored<F extends Field>(field: F): F {
  return { ...field, support: 'ignored' };
}

function field<T, Suffix extends string = ''>(
  parts: Partial<Field<T, Suffix>> & { schema: z.ZodType<T>; fallback: T; accepts: string },
  suffix: Suffix = '' as Suffix,
): Field<T, Suffix> {
  return { support: 'supported', unset: [], fromFlag: (text) => text, suffix, ...parts };
}

/** A string; "" stands for the default, as in Go. */
export function text(fallback = ''): Field<string, ''> {
  return field({ schema: z.string(), fallback, accepts: 'a string', unset: [''] });
}

/** One of several strings; "" stands for the default. */
export function choice<const T extends string>(fallback: NoInfer<T>, choices: readonly T[]): Field<T, ''> {
  return field<T>({
    schema: z.enum(choices) as unknown as z.ZodType<T>,
    fallback,
    accepts: choices.map((one) => JSON.stringify(one)).join(', '),
    unset: [''],
  });
}

/** `zeroIsUnset`: upstream replaces 0 by the default. */
export function integer<T extends number | undefined = number>(
  fallback: T,
  options: { min?: number; max?: number; zeroIsUnset?: boolean } = {},
): Field<number | T, ''> {
  const min = options.min ?? 0;
  const max = options.max ?? Number.MAX_SAFE_INTEGER;
  return field<number | T>({
    schema: z.int().min(min).max(max) as unknown as z.ZodType<number | T>,
    fallback,
    accepts: max === Number.MAX_SAFE_INTEGER ? `an integer from ${min}` : `an integer from ${min} to ${max}`,
    unset: options.zeroIsUnset ? [0] : [],
    fromFlag: numberFromFlag,
  });
}

/** A number; 0 stands for the default. */
export function fraction(fallback: number): Field<number, ''> {
  return field({ schema: z.number(), fallback, accepts: 'a number', unset: [0], fromFlag: numberFromFlag });
}

const numberFromFlag = (value: string) => (/^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value);

/** With `undefined` as the fallback one sees whether it was said. */
export function boolean<T extends boolean | undefined = boolean>(fallback: T): Field<boolean | T, ''> {
  return field<boolean | T>({
    schema: z.boolean() as unknown as z.ZodType<boolean | T>,
    fallback,
    accepts: 'true or false',
    fromFlag: (value) => (value === 'true' ? true : value === 'false' ? false : value),
  });
}

/** A Go duration. The property's name ends in `Ms`. `zeroIsUnset` (the usual case upstream): "0s" stands for the default. */
export function duration(
  fallbackMs: number,
  options: { zeroIsUnset?: boolean; minMs?: number } = {},
): Field<number, 'Ms'> {
  return field(
    {
      schema: z.string().transform((value, context) => {
        const ms = parseGoDurationMs(value);
        if (ms !== undefined && ms >= (options.minMs ?? 0)) return ms;
        context.addIssue({ code: 'custom', message: 'not a duration' });
        return z.NEVER;
      }) as unknown as z.ZodType<number>,
      fallback: fallbackMs,
      accepts: `a duration such as "30s" or "1h30m"${options.minMs && options.minMs > 0 ? `, at least ${options.minMs / 1000}s` : ''}`,
      unset: options.zeroIsUnset === false ? [] : ['0s', '0', 0],
    },
    'Ms',
  );
}

/** A quantity of bytes such as "10Mi". The property's name ends in `Bytes`. */
export function byteQuantity(fallbackBytes: number): Field<number, 'Bytes'> {
  return field(
    {
      schema: z
        .union([z.string(), z.number()])
        .refine((value) => isQuantity(value))
        .transform((value) => quantityBytes(value)) as unknown as z.ZodType<number>,
      fallback: fallbackBytes,
      accepts: 'a quantity of bytes such as "10Mi"',
      unset: [''],
    },
    'Bytes',
  );
}

/** A list of strings that all pass `accepts`; a flag gives it comma-separated. */
export function list(
  options: { accepts?: string; valid?: (item: string) => boolean; fallback?: readonly string[] } = {},
): Field<readonly string[], ''> {
  return field<readonly string[]>({
    schema: z.array(z.string().refine((item) => options.valid?.(item) ?? true)),
    fallback: options.fallback ?? [],
    accepts: `a list of ${options.accepts ?? 'strings'}`,
    fromFlag: (value) => (value === '' ? [] : value.split(',')),
  });
}

/** A map of strings; a flag gives it as `k=v,k=v`. */
export function map(fallback: Readonly<Record<string, string>> = {}): Field<Readonly<Record<string, string>>, ''> {
  return field<Readonly<Record<string, string>>>({
    schema: z.record(z.string(), z.string()),
    fallback,
    accepts: 'a map of strings',
    fromFlag: (value) =>
      Object.fromEntries(value.split(',').map((pair) => [pair.split('=')[0], pair.split('=').slice(1).join('=')])),
  });
}

/** A map of lists of strings, such as HTTP headers; a flag gives it as `name:value,name:value`. */
export function multimap(): Field<Readonly<Record<string, readonly string[]>>, ''> {
  return field<Readonly<Record<string, readonly string[]>>>({
    schema: z.record(z.string(), z.array(z.string())),
    fallback: {},
    accepts: 'a map of lists of strings',
    fromFlag(value) {
      const pairs = value
        .split(',')
        .map((pair): [string, string] => [pair.split(':')[0]!, pair.split(':').slice(1).join(':')]);
      return Object.fromEntries(
        pairs.map(([name]) => [name, pairs.filter(([other]) => other === name).map(([, one]) => one)]),
      );
    },
  });
}

/** A URL of one of the given schemes; "" stands for none. */
export function url(protocols: readonly string[]): Field<string, ''> {
  return field({
    schema: z.string().refine((value) => protocols.includes(URL.parse(value)?.protocol.slice(0, -1) ?? '')),
    fallback: '',
    accepts: `a URL that begins with ${protocols.map((one) => `${one}://`).join(' or ')}`,
    unset: [''],
  });
}

/** A map of names to true or false (feature gates). */
export function switches(): Field<Readonly<Record<string, boolean>>, ''> {
  return field<Readonly<Record<string, boolean>>>({
    schema: z.record(z.string(), z.boolean()),
    fallback: {},
    accepts: 'a map of names to true or false',
    fromFlag: (value) =>
      Object.fromEntries(value.split(',').map((pair) => [pair.split('=')[0], pair.split('=')[1] === 'true'])),
  });
}

/** A list of objects that a zod schema describes. */
export function objects<T>(item: z.ZodType<T>, accepts: string): Field<readonly T[], ''> {
  return field<readonly T[]>({ schema: z.array(item), fallback: [], accepts: `a list of ${accepts}` });
}

/** Anything, for what Berth does not look into. */
export function anything(): Field<unknown, ''> {
  return field<unknown>({ schema: z.unknown(), fallback: undefined, accepts: 'anything', unset: [''] });
}

/** An IP address; "" stands for the default. */
export function address(fallback: string): Field<string, ''> {
  return field({
    schema: z.string().refine((value) => ipaddr.isValid(value)),
    fallback,
    accepts: 'an IP address',
    unset: [''],
  });
}

/** `IP:port`, `[IPv6]:port`, or a bare IP where `defaultPort` completes it. */
export function addressAndPort(fallback: string, defaultPort: number): Field<string, ''> {
  return field<string>({
    schema: z.string().transform((value, context) => {
      if (ipaddr.isValid(value)) return value.includes(':') ? `[${value}]:${defaultPort}` : `${value}:${defaultPort}`;
      const [, host, port] = /^\[?([^\]]+)\]?:(\d+)$/.exec(value) ?? [];
      if (host && ipaddr.isValid(host) && Number(port) <= 65535) return value;
      context.addIssue({ code: 'custom', message: 'not an address' });
      return z.NEVER;
    }) as unknown as z.ZodType<string>,
    fallback,
    accepts: 'IP:port',
    unset: [''],
  });
}

/** Whether a text is an address block such as 10.244.0.0/16. */
export function isCidr(value: string): boolean {
  return ipaddr.isValidCIDR(value);
}
