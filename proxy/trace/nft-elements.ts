import { addressPattern, createElements, interfacePattern } from './elements.ts';
import type { TokenReader } from './nft-tokens.ts';
import type { Elements, Pattern, Verdict } from './ruleset.ts';

/** One element as nft prints it: `10.96.0.1 . tcp . 80 comment "ns/svc" : goto service-…`. */
interface Element {
  key: readonly Pattern[];
  verdict?: Verdict;
  data?: readonly string[];
}

/** A set or a map; which of the views makes sense is the user's to know. */
export interface NftElements {
  keys: Elements<unknown>;
  verdicts: Elements<Verdict>;
  data: Elements<readonly string[]>;
}

/** Reads `{ element, … }`, its opening brace included. */
export function readElements(reader: TokenReader, name?: string): NftElements {
  const elements: Element[] = [];
  if (!reader.take('{')) throw new Error(`nft: a set begins with {, not with ${reader.peek()}`);
  while (!reader.take('}')) {
    elements.push(readElement(reader));
    reader.take(',');
  }
  return {
    keys: createElements(
      elements.map(({ key }) => [key, true]),
      name,
    ),
    verdicts: createElements(
      elements.flatMap(({ key, verdict }) => (verdict ? [[key, verdict] as const] : [])),
      name,
    ),
    data: createElements(
      elements.flatMap(({ key, data }) => (data ? [[key, data] as const] : [])),
      name,
    ),
  };
}

export const NO_ELEMENTS: NftElements = {
  keys: createElements([]),
  verdicts: createElements<Verdict>([]),
  data: createElements<readonly string[]>([]),
};

function readElement(reader: TokenReader): Element {
  const key = readParts(reader).map(patternOf);
  skipAttributes(reader);
  if (!reader.take(':')) return { key };
  const verdict = readVerdict(reader);
  const data = verdict ? undefined : readParts(reader).map(canonicalValue);
  skipAttributes(reader);
  return { key, verdict, data };
}

function readParts(reader: TokenReader): string[] {
  const parts = [reader.next()];
  while (reader.take('.')) parts.push(reader.next());
  // `10.0.0.1 - 10.0.0.9` is one part.
  while (reader.take('-')) parts.push(`${parts.pop()}-${reader.next()}`);
  return parts;
}

/** Of what an element carries beside, only the attributes' length matters. */
function skipAttributes(reader: TokenReader): void {
  for (;;) {
    if (reader.take('comment', 'timeout', 'expires')) reader.next();
    else if (reader.take('counter')) {
      while (reader.take('packets', 'bytes')) reader.next();
    } else return;
  }
}

/** The verdict that stands next, if one does. */
export function readVerdict(reader: TokenReader): Verdict | undefined {
  switch (reader.peek()) {
    case 'accept':
    case 'drop':
    case 'return':
    case 'continue':
      return { kind: reader.next().toUpperCase() as 'ACCEPT' | 'DROP' | 'RETURN' | 'CONTINUE' };
    case 'jump':
    case 'goto':
      return { kind: reader.next() as 'jump' | 'goto', chain: reader.next() };
    case 'reject':
      reader.next();
      // `reject with icmp type port-unreachable`, `reject with tcp reset`: how it is told makes no other end.
      if (reader.take('with')) while (reader.peek() !== undefined && !REJECT_END.has(reader.peek()!)) reader.next();
      return { kind: 'REJECT' };
    default:
      return undefined;
  }
}

const REJECT_END = new Set(['comment', ';', ',', '}']);

/** What one word of nft admits. */
export function patternOf(word: string): Pattern {
  if (word === '*') return { prefix: '' };
  if (/^[0-9a-fA-F:.]+(\/\d+)?(-[0-9a-fA-F:.]+)?$/.test(word) && /[.:]/.test(word)) return addressPattern(word);
  const range = /^(\d+)-(\d+)$/.exec(word);
  if (range) return { from: range[1]!, to: range[2]! };
  return interfacePattern(canonicalValue(word), '*');
}

/** Numbers in decimal, whatever nft prints; addresses in one spelling. */
export function canonicalValue(word: string): string {
  if (/^0x[0-9a-f]+$/i.test(word)) return String(Number(word));
  const pattern = /^[0-9a-fA-F:.]+$/.test(word) && /[.:]/.test(word) ? addressPattern(word) : word;
  return typeof pattern === 'string' ? pattern : word;
}
