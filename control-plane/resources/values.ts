import { isIP, isIPv4 } from 'node:net';
import { type FieldError, invalid } from '../apiserver/field-error.ts';

/**
 * Forms of single values (apimachinery's util/validation). Each answers with what is wrong, in upstream's words; an
 * empty list means the value is fine.
 */

/** Keys of ConfigMaps and Secrets: they become file names. */
export function configKeyProblems(key: string): string[] {
  const problems: string[] = [];
  if (key.length > 253) problems.push('must be no more than 253 characters');
  if (!/^[-._a-zA-Z0-9]+$/.test(key))
    problems.push(
      "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    );
  if (key === '.' || key === '..') problems.push(`must not be '${key}'`);
  else if (key.startsWith('..')) problems.push("must not start with '..'");
  return problems;
}

/** IANA service names, as ports have them. */
export function portNameProblems(name: string): string[] {
  const problems: string[] = [];
  if (name.length > 15) problems.push('must be no more than 15 characters');
  if (!/^[-a-z0-9]+$/.test(name))
    problems.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  if (!/[a-z]/.test(name)) problems.push('must contain at least one letter (a-z)');
  if (name.includes('--')) problems.push('must not contain consecutive hyphens');
  if (name.startsWith('-') || name.endsWith('-')) problems.push('must not begin or end with a hyphen');
  return problems;
}

export function inclusiveRange(low: number, high: number): string {
  return `must be between ${low} and ${high}, inclusive`;
}

const within = (value: number, low: number, high: number) =>
  Number.isInteger(value) && value >= low && value <= high ? [] : [inclusiveRange(low, high)];

export const portNumberProblems = (port: number) => within(port, 1, 65535);

export const MAX_INT32 = 2 ** 31 - 1;

/** User and group ids. */
export const userIdProblems = (id: number) => within(id, 0, MAX_INT32);

/** Printable ASCII but '='. */
export function envNameProblems(name: string): string[] {
  return /^[\x20-\x3c\x3e-\x7e]*$/.test(name)
    ? []
    : ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
}

export function httpHeaderProblems(name: string): string[] {
  return /^[-A-Za-z0-9]+$/.test(name)
    ? []
    : [
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
      ];
}

export function ipProblems(address: string): string[] {
  return isIP(address) ? [] : ['must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'];
}

export function cidrProblems(cidr: string): string[] {
  const slash = cidr.indexOf('/');
  const address = cidr.slice(0, slash);
  const bits = cidr.slice(slash + 1);
  const longest = isIPv4(address) ? 32 : 128;
  return slash > 0 && isIP(address) && /^\d{1,3}$/.test(bits) && Number(bits) <= longest
    ? []
    : ['must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'];
}

/** Addresses that make no sense as endpoints or external addresses: unspecified, loopback, link-local. */
export function specialIpProblems(address: string): string[] {
  const lower = address.toLowerCase();
  if (lower === '0.0.0.0' || /^[0:]+$/.test(lower)) return [`may not be unspecified (${address})`];
  if (lower.startsWith('127.') || /^(0*:)*:?0*1$/.test(lower))
    return ['may not be in the loopback range (127.0.0.0/8, ::1/128)'];
  if (lower.startsWith('169.254.') || /^fe[89ab]/.test(lower))
    return ['may not be in the link-local range (169.254.0.0/16, fe80::/10)'];
  if (lower.startsWith('224.0.0.') || lower.startsWith('ff02:'))
    return ['may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'];
  return [];
}

/** Turns what a value check found into field errors. */
export function invalidFor(field: string, badValue: unknown, problems: readonly string[]): FieldError[] {
  return problems.map((problem) => invalid(field, badValue, problem));
}

export function nonNegative(field: string, value: number | undefined | null): FieldError[] {
  return value !== undefined && value !== null && value < 0
    ? [invalid(field, value, 'must be greater than or equal to 0')]
    : [];
}
