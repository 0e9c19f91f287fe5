import { createElements } from './elements.ts';
import { patternOf, readVerdict } from './nft-elements.ts';
import { type NftSets, readKey, readSet, UnknownNft } from './nft-expression.ts';
import { type Token, TokenReader } from './nft-tokens.ts';
import type { Expression, Pattern, Step } from './ruleset.ts';

/** The steps of a rule as nft prints it. What the trace cannot judge becomes a step of its own, and ends the rule. */
export function readNftRule(tokens: readonly Token[], sets: NftSets): Step[] {
  const reader = new TokenReader(tokens);
  const steps: Step[] = [];
  try {
    while (!reader.isDone) steps.push(...readStatement(reader, sets));
  } catch (error) {
    if (!(error instanceof UnknownNft)) throw error;
    steps.push({ kind: 'unknown', text: error.message });
  }
  return steps.length === 0 ? [{ kind: 'note' }] : steps;
}

function readStatement(reader: TokenReader, sets: NftSets): Step[] {
  const verdict = readVerdict(reader);
  if (verdict) return [{ kind: 'verdict', verdict }];
  switch (reader.peek()) {
    case 'comment':
      reader.next();
      reader.next();
      return [];
    case ';':
      reader.next();
      return [];
    case 'counter':
      reader.next();
      while (reader.take('packets', 'bytes')) reader.next();
      return [];
    case 'log':
      reader.next();
      while (reader.take('prefix', 'group', 'level', 'flags', 'snaplen', 'queue-threshold')) reader.next();
      return [];
    case 'notrack':
      reader.next();
      return [];
    case 'masquerade':
      reader.next();
      skipNatFlags(reader);
      return [{ kind: 'masquerade' }];
    case 'redirect':
      reader.next();
      return [readRedirect(reader)];
    case 'dnat':
      reader.next();
      return [readDnat(reader, sets)];
    case 'snat':
      reader.next();
      return [readSnat(reader, sets)];
    case 'update':
    case 'add':
      return [readRemember(reader)];
    case 'meta':
    case 'mark':
      return isAssignment(reader) ? [readMarkSet(reader, sets)] : readMatch(reader, sets);
    case 'ct':
      return isConnection(reader) ? [readConnection(reader, sets)] : readMatch(reader, sets);
    default:
      return readMatch(reader, sets);
  }
}

/** An expression, then how it is compared; `tcp dport 80` asks for the protocol too. */
function readMatch(reader: TokenReader, sets: NftSets): Step[] {
  const protocol = reader.peek(1) === 'dport' || reader.peek(1) === 'sport' ? reader.peek() : undefined;
  const steps: Step[] = [];
  if (protocol && protocol !== 'th') steps.push(matchOf([{ kind: 'field', field: 'protocol' }], [[protocol]], false));
  const key = readKey(reader, sets);
  if (reader.take('vmap')) return [...steps, { kind: 'verdictMap', key, map: readSet(reader, sets).verdicts }];
  const operator = reader.take('!=', '==', '<', '>', '<=', '>=', '!');
  if (operator && operator !== '!=' && operator !== '==') throw new UnknownNft(`the comparison ${operator}`);
  const negated = operator === '!=';
  const right = reader.peek();
  if (right === '{' || right?.startsWith('@'))
    return [...steps, { kind: 'match', key, elements: readSet(reader, sets).keys, negated }];
  const parts = [[patternOf(reader.next())]];
  while (reader.take('.')) parts[0]!.push(patternOf(reader.next()));
  // `80,443` comes without braces where the parts are flags or states.
  while (reader.take(',')) parts.push([patternOf(reader.next())]);
  return [...steps, matchOf(key, parts, negated)];
}

function matchOf(key: readonly Expression[], elements: Pattern[][], negated: boolean): Step {
  return { kind: 'match', key, elements: createElements(elements.map((parts) => [parts, true])), negated };
}

function isAssignment(reader: TokenReader): boolean {
  return reader.peek(reader.peek() === 'mark' ? 1 : 2) === 'set';
}

function readMarkSet(reader: TokenReader, sets: NftSets): Step {
  if (reader.take('meta') && reader.peek() !== 'mark') throw new UnknownNft(`meta ${reader.rest()}`);
  reader.next();
  reader.next();
  const [value, ...more] = readKey(reader, sets);
  if (more.length > 0) throw new UnknownNft('a mark of several parts');
  return { kind: 'mark', value: value! };
}

/** `ct state new`, `ct state { established, related }`, `ct status dnat`; a verdict map over states is an ordinary match. */
function isConnection(reader: TokenReader): boolean {
  return (reader.peek(1) === 'state' || reader.peek(1) === 'status') && reader.peek(2) !== 'vmap';
}

function readConnection(reader: TokenReader, sets: NftSets): Step {
  const isStatus = reader.peek(1) === 'status';
  reader.next();
  reader.next();
  const operator = reader.take('!=', '==', '&', 'and');
  const states: string[] = [];
  if (reader.peek()?.startsWith('@')) {
    const { keys } = readSet(reader, sets);
    for (const state of ['new', 'dnat', 'snat']) if (keys.find([state])) states.push(state);
  } else {
    const isSet = reader.take('{') !== undefined;
    do states.push(reader.next());
    while (reader.take(','));
    if (isSet) reader.take('}');
  }
  // `ct status & dnat == dnat` says what `ct status dnat` says.
  if (operator === '&' || operator === 'and') {
    const comparison = reader.take('==', '!=');
    const negated = comparison === '==' ? reader.peek() === '0' : comparison === '!=' && reader.peek() !== '0';
    reader.next();
    return { kind: 'connection', states, negated };
  }
  if (!isStatus && states.length === 0) throw new UnknownNft('ct state without states');
  return { kind: 'connection', states, negated: operator === '!=' };
}

/** `dnat to 10.0.0.1:80`, `dnat ip to … map …`, `dnat ip addr . port to …`. */
function readDnat(reader: TokenReader, sets: NftSets): Step {
  reader.take('ip', 'ip6');
  if (reader.take('addr')) {
    reader.take('.');
    reader.take('port');
  }
  if (!reader.take('to')) throw new UnknownNft(`dnat ${reader.rest()}`);
  const word = reader.peek() ?? '';
  if (/^[\d[]/.test(word) && reader.peek(1) !== '.') {
    reader.next();
    const [, v6, v4, port] = /^(?:\[(.+)\]|([\d.]+|[0-9a-f:]+))(?::(\d+))?$/.exec(word) ?? [];
    const inner = v4 ?? v6;
    if (!inner) throw new UnknownNft(`dnat to ${word}`);
    skipNatFlags(reader);
    return {
      kind: 'dnat',
      targets: [{ address: inner, port: port === undefined ? undefined : Number(port), weight: 1 }],
    };
  }
  const key = readKey(reader, sets);
  skipNatFlags(reader);
  if (key.length === 1) return { kind: 'dnatTo', to: key[0]! };
  const [address, port] = key;
  if (address?.kind !== 'constant' || port?.kind !== 'constant') throw new UnknownNft('dnat to an expression');
  return { kind: 'dnat', targets: [{ address: address.value, port: Number(port.value), weight: 1 }] };
}

function readRedirect(reader: TokenReader): Step {
  const port = reader.take('to') ? /^:(\d+)$/.exec(reader.next())?.[1] : undefined;
  skipNatFlags(reader);
  if (port === undefined) throw new UnknownNft('redirect without a port');
  return { kind: 'redirect', port: Number(port) };
}

function readSnat(reader: TokenReader, sets: NftSets): Step {
  reader.take('ip', 'ip6');
  if (!reader.take('to')) throw new UnknownNft(`snat ${reader.rest()}`);
  const expression = readKey(reader, sets)[0]!;
  skipNatFlags(reader);
  return { kind: 'snat', address: expression.kind === 'constant' ? expression.value : 'a mapped address' };
}

/** `update @affinity { ip saddr timeout 3h }`, `add @map { ip saddr : … }`. */
function readRemember(reader: TokenReader): Step {
  reader.next();
  const list = reader.next();
  if (!reader.take('{')) throw new UnknownNft(`a change of ${list}`);
  for (let depth = 1; depth > 0; ) {
    const word = reader.next();
    if (word === '{') depth++;
    if (word === '}') depth--;
  }
  return { kind: 'remember', list: list.slice(1) };
}

function skipNatFlags(reader: TokenReader): void {
  do while (reader.take('random', 'fully-random', 'persistent'));
  while (reader.take(','));
}
