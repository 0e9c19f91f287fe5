import ipaddr from 'ipaddr.js';
import type { Packet, TraceHost, TraceStep } from './packet.ts';
import type { Expression, Field } from './ruleset.ts';

/** The packet on its way. Never changed: branches share what they have in common. */
export interface State {
  packet: Packet;
  original: Packet;
  mark: number;
  /** Set by a translation of the destination (of the source). */
  isTranslated: boolean;
  isMasqueraded: boolean;
  probability: number;
  path: readonly TraceStep[];
  doubts: readonly string[];
}

export interface Place {
  host: TraceHost;
  /** Set behind the routing decision. */
  isRouted: boolean;
  /** Set where a packet of the host to itself comes in again. */
  isLoopedBack: boolean;
}

export interface Weighted<T> {
  value: T;
  probability: number;
}

export function isLocalAddress(address: string, host: TraceHost): boolean {
  return host.localAddresses.includes(address) || ipaddr.parse(address).range() === 'loopback';
}

/** What an expression may be, with the chance of each; nothing when it cannot be told (a map without the key, an unset field). */
export function evaluate(expression: Expression, state: State, place: Place): Weighted<readonly string[]>[] {
  switch (expression.kind) {
    case 'constant':
      return certain(expression.value);
    case 'field': {
      const value = fieldOf(expression.field, state, place);
      return value === undefined ? [] : certain(value);
    }
    case 'random': {
      const { modulus, offset } = expression;
      return Array.from({ length: modulus }, (_, index) => ({
        value: [String(index + offset)],
        probability: 1 / modulus,
      }));
    }
    case 'bits':
      return evaluate(expression.of, state, place).map(({ value, probability }) => ({
        value: [String(((Number(value[0]) & expression.and) ^ expression.xor) >>> 0)],
        probability,
      }));
    case 'lookup':
      return lookUp(expression.key, expression.map, state, place).flatMap(({ value, probability }) =>
        value ? [{ value: value.value, probability }] : [],
      );
  }
}

/** Every element that the key may lead to, once, with its chance; an undefined value stands for "none". */
export function lookUp<T>(
  key: readonly Expression[],
  elements: { find(key: readonly string[]): { value: T } | undefined },
  state: State,
  place: Place,
): Weighted<{ value: T } | undefined>[] {
  let keys: Weighted<readonly string[]>[] = [{ value: [], probability: 1 }];
  for (const part of key) {
    const values = evaluate(part, state, place);
    keys = keys.flatMap((before) =>
      values.map(({ value, probability }) => ({
        value: [...before.value, ...value],
        probability: before.probability * probability,
      })),
    );
  }
  const found = new Map<{ value: T } | undefined, number>();
  const untold = 1 - keys.reduce((sum, { probability }) => sum + probability, 0);
  if (untold > EPSILON) found.set(undefined, untold);
  for (const { value, probability } of keys) {
    const element = elements.find(value);
    found.set(element, (found.get(element) ?? 0) + probability);
  }
  return [...found].map(([value, probability]) => ({ value, probability }));
}

/** Chances are sums of floats. */
export const EPSILON = 1e-9;

function certain(value: string): Weighted<readonly string[]>[] {
  return [{ value: [value], probability: 1 }];
}

function fieldOf(field: Field, { packet, original, mark }: State, { host, isRouted, isLoopedBack }: Place) {
  const typeOf = (address: string) => (isLocalAddress(address, host) ? 'local' : 'unicast');
  switch (field) {
    case 'source':
      return packet.source;
    case 'destination':
      return packet.destination;
    case 'protocol':
      return packet.protocol.toLowerCase();
    case 'sourcePort':
      return undefined;
    case 'destinationPort':
      return String(packet.destinationPort);
    case 'inInterface':
      return isLoopedBack ? 'lo' : packet.inInterface;
    case 'outInterface':
      if (!isRouted) return undefined;
      return isLocalAddress(packet.destination, host) ? 'lo' : host.outInterface?.(packet.destination);
    case 'sourceType':
      return typeOf(packet.source);
    case 'destinationType':
      return typeOf(packet.destination);
    case 'mark':
      return String(mark);
    case 'connectionState':
      return 'new';
    case 'originalDestination':
      return original.destination;
    case 'originalDestinationPort':
      return String(original.destinationPort);
  }
}
