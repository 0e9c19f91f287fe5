import type { NftElements } from './nft-elements.ts';
import { canonicalValue, readElements } from './nft-elements.ts';
import type { TokenReader } from './nft-tokens.ts';
import type { Expression, Field } from './ruleset.ts';

/** The sets and maps of a table, by name. */
export type NftSets = (name: string) => NftElements | undefined;

/** Thrown where nft's language goes beyond what a trace of service rules needs. */
export class UnknownNft extends Error {
  override readonly name = 'UnknownNft';
}

/** Words that begin an expression, with the field that follows from the words after. */
const FIELDS: Record<string, Field> = {
  'ip saddr': 'source',
  'ip6 saddr': 'source',
  'ip daddr': 'destination',
  'ip6 daddr': 'destination',
  'ip protocol': 'protocol',
  'ip6 nexthdr': 'protocol',
  'meta l4proto': 'protocol',
  'meta mark': 'mark',
  'meta iifname': 'inInterface',
  'meta iif': 'inInterface',
  'meta oifname': 'outInterface',
  'meta oif': 'outInterface',
  'th dport': 'destinationPort',
  'th sport': 'sourcePort',
  'tcp dport': 'destinationPort',
  'tcp sport': 'sourcePort',
  'udp dport': 'destinationPort',
  'udp sport': 'sourcePort',
  'sctp dport': 'destinationPort',
  'sctp sport': 'sourcePort',
  'ct state': 'connectionState',
};

const SHORT_FIELDS: Record<string, Field> = {
  mark: 'mark',
  iifname: 'inInterface',
  iif: 'inInterface',
  oifname: 'outInterface',
  oif: 'outInterface',
  l4proto: 'protocol',
};

/** `ip daddr . meta l4proto . th dport`, with what may follow it: bit operations, `map @name`. */
export function readKey(reader: TokenReader, sets: NftSets): Expression[] {
  const key = [readExpression(reader)];
  while (reader.take('.')) key.push(readExpression(reader));
  if (!reader.take('map')) return key;
  return [{ kind: 'lookup', key, map: readSet(reader, sets).data }];
}

/** `@name`, or `{ … }` on the spot. */
export function readSet(reader: TokenReader, sets: NftSets): NftElements {
  const name = reader.peek();
  if (!name?.startsWith('@')) return readElements(reader);
  reader.next();
  const set = sets(name.slice(1));
  if (!set) throw new UnknownNft(`${name}, which the table does not have`);
  return set;
}

export function readExpression(reader: TokenReader): Expression {
  let expression = readOperand(reader);
  for (let operator = reader.take(...OPERATORS); operator; operator = reader.take(...OPERATORS)) {
    const bits = Number(reader.next());
    if (Number.isNaN(bits)) throw new UnknownNft(`the operand of ${operator}`);
    const [and, xor] =
      operator === '&' || operator === 'and'
        ? [bits, 0]
        : operator === '^' || operator === 'xor'
          ? [0xffffffff, bits]
          : [~bits, bits];
    expression = { kind: 'bits', of: expression, and, xor };
  }
  return expression;
}

const OPERATORS = ['&', 'and', '|', 'or', '^', 'xor'];

function readOperand(reader: TokenReader): Expression {
  const word = reader.peek() ?? '';
  const pair = `${word} ${reader.peek(1)}`;
  if (FIELDS[pair]) {
    reader.next();
    reader.next();
    return { kind: 'field', field: FIELDS[pair] };
  }
  if (SHORT_FIELDS[word]) {
    reader.next();
    return { kind: 'field', field: SHORT_FIELDS[word] };
  }
  switch (word) {
    case 'fib':
      return readFib(reader);
    case 'ct':
      return readOriginal(reader);
    case 'numgen':
    case 'jhash':
    case 'symhash':
      return readRandom(reader);
    default:
      if (word === '' || /^[a-z]/i.test(word)) throw new UnknownNft(`the expression ${reader.rest()}`);
      return { kind: 'constant', value: canonicalValue(reader.next()) };
  }
}

/** `fib daddr type`, `fib saddr type`. */
function readFib(reader: TokenReader): Expression {
  const words = [reader.next(), reader.next(), reader.next()].join(' ');
  if (words === 'fib daddr type') return { kind: 'field', field: 'destinationType' };
  if (words === 'fib saddr type') return { kind: 'field', field: 'sourceType' };
  throw new UnknownNft(words);
}

/** `ct original ip daddr`, `ct original proto-dst`. */
function readOriginal(reader: TokenReader): Expression {
  const words = [reader.next(), reader.next()].join(' ');
  if (words !== 'ct original') throw new UnknownNft(words);
  if (reader.take('proto-dst')) return { kind: 'field', field: 'originalDestinationPort' };
  if (reader.take('ip', 'ip6') && reader.take('daddr')) return { kind: 'field', field: 'originalDestination' };
  throw new UnknownNft(`ct original ${reader.rest()}`);
}

/** A hash of what comes with the packet is as good as chance to whoever doesn't know the ports that clients will use. */
function readRandom(reader: TokenReader): Expression {
  const start = reader.rest();
  while (!reader.isDone && reader.peek() !== 'mod') reader.next();
  if (!reader.take('mod')) throw new UnknownNft(start);
  const modulus = Number(reader.next());
  let offset = 0;
  for (let word = reader.take('seed', 'offset'); word; word = reader.take('seed', 'offset')) {
    const value = Number(reader.next());
    if (word === 'offset') offset = value;
  }
  return { kind: 'random', modulus, offset };
}
