import { eachAttribute, MessageWriter } from './message.ts';
import {
  NFT_SET_EVAL,
  NFT_SET_MAP,
  NFT_SET_TIMEOUT,
  NFTA_EXPR_DATA,
  NFTA_EXPR_NAME,
  VERDICT_CODES,
} from './nf-tables.ts';
import type { BaseChainHook, Family, Rule } from './rule.ts';
import { encodeStatement, HOOK_NUMBERS } from './rule-encoding.ts';
import { dataBytesOf, keyBytesOf, partsBytes, type SetDefinition, type SetElement } from './set.ts';

/*
 * Whether what the kernel gives back (table.ts) is what we would write. Expressions are compared, not texts: a rule that
 * somebody replaced by hand, or that another version of ours wrote, is another rule whatever it looks like.
 */

/** Whether the kernel's rules of a chain are these, in this order. */
export function hasRules(kernel: readonly Buffer[] | undefined, rules: readonly Rule[], family: Family): boolean {
  const standing = kernel ?? [];
  return standing.length === rules.length && rules.every((rule, index) => isRule(standing[index]!, rule, family));
}

/** Whether a rule's expressions, as the kernel gives them, are those of ours. */
export function isRule(kernel: Buffer, { statements }: Rule, family: Family): boolean {
  const writer = new MessageWriter(1024, { marksNested: false });
  for (const statement of statements) encodeStatement(writer, statement, family);
  const ours = listOf(writer.finish());
  const theirs = listOf(kernel);
  return ours.length === theirs.length && ours.every((expression, index) => isExpression(theirs[index]!, expression));
}

function isExpression(kernel: Buffer, ours: Buffer): boolean {
  const [theirs, mine] = [mapOf(kernel), mapOf(ours)];
  if (!theirs.get(NFTA_EXPR_NAME)?.equals(mine.get(NFTA_EXPR_NAME)!)) return false;
  const [theirData, myData] = [mapOf(theirs.get(NFTA_EXPR_DATA)), mapOf(mine.get(NFTA_EXPR_DATA))];
  for (const [type, value] of myData) if (!theirData.get(type)?.equals(value)) return false;
  // What the kernel adds are defaults; they are zero. Another value is a meaning that we did not ask for.
  for (const [type, value] of theirData) if (!myData.has(type) && value.some((byte) => byte !== 0)) return false;
  return true;
}

function listOf(data: Buffer): Buffer[] {
  const items: Buffer[] = [];
  eachAttribute(data, 0, (_type, value) => items.push(value));
  return items;
}

function mapOf(data: Buffer | undefined): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  if (data) eachAttribute(data, 0, (type, value) => found.set(type, value));
  return found;
}

/** A base chain as KernelTable has it; empty for a chain that others jump to. */
export function baseChainFacts(base: BaseChainHook | undefined): string {
  if (!base) return '';
  return [base.type, HOOK_NUMBERS[base.hook], base.priority, VERDICT_CODES.accept].join(' ');
}

/** A set as KernelTable has it. */
export function setFacts(set: SetDefinition, family: Family): string {
  const flags = (set.data ? NFT_SET_MAP : 0) | (set.dynamic ? NFT_SET_TIMEOUT | NFT_SET_EVAL : 0);
  const VERDICT_BYTES = 16;
  const dataBytes = set.data === 'verdict' ? VERDICT_BYTES : dataBytesOf(set, family);
  return [flags, keyBytesOf(set, family), dataBytes, (set.dynamic?.timeoutSeconds ?? 0) * 1000].join(' ');
}

/** An element as readElements has it. */
export function elementFacts(element: SetElement, set: SetDefinition, family: Family): { key: string; data: string } {
  const key = partsBytes(element.key, set.key, family).toString('hex');
  const { data } = element;
  if (data === undefined) return { key, data: '' };
  if ('code' in data) return { key, data: `${VERDICT_CODES[data.code]} ${data.chain ?? ''}` };
  return {
    key,
    data: partsBytes(data, set.data as Exclude<SetDefinition['data'], 'verdict' | undefined>, family).toString('hex'),
  };
}
