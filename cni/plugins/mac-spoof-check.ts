/**
 * Drops frames of a bridge's port whose sender is not the container's MAC, in the reference plugin's chains:
 *
 *     bridge nat PREROUTING      iifname <port> jump cni-br-iface-<id>-<ifname>
 *     …-mac                      ether saddr <MAC> return; drop
 *
 * The table and PREROUTING are shared with others (ebtables) and stay.
 */
import type { Nft, NftObject } from '../../src/netfilter/nft.ts';
import type { AttachmentKey } from '../types.ts';
import { broken } from './failure.ts';

const FAMILY = 'bridge';
const NAME = 'nat';
const TABLE = `${FAMILY} ${NAME}`;
const BASE = 'PREROUTING';
const COMMENT_PREFIX = 'macspoofchk-';

const idOf = ({ containerId, ifname }: AttachmentKey) => `${containerId}-${ifname}`;
const chainOf = (id: string) => `cni-br-iface-${id}`;

export interface MacSpoofCheck {
  /** Idempotent. */
  ensure(key: AttachmentKey, port: string, mac: string): Promise<void>;
  /** @throws CniError 0 when the port may send by any MAC again. */
  check(key: AttachmentKey, port: string): Promise<void>;
  /** Idempotent; starts no program where there is no such table. */
  remove(key: AttachmentKey): Promise<void>;
  /** Removes the checks of ports that the host has no longer, of any network. */
  collect(ports: ReadonlySet<string>): Promise<void>;
}

export function createMacSpoofCheck(nft: Nft): MacSpoofCheck {
  let tail: Promise<unknown> = Promise.resolve();
  /** Reading the table and changing it are two steps: one after the other within this process. */
  function changeTable(render: (objects: NftObject[]) => string): Promise<void> {
    const result = tail.then(async () => {
      const exists = (await nft.tables()).some(({ family, name }) => family === FAMILY && name === NAME);
      const script = render(exists ? await nft.list(FAMILY, NAME) : []);
      if (script !== '') await nft.apply(script);
    });
    tail = result.catch(() => {});
    return result;
  }
  return {
    ensure: (key, port, mac) => changeTable((objects) => renderSpoofCheck(key, port, mac, objects)),
    async check(key, port) {
      const exists = (await nft.tables()).some(({ family, name }) => family === FAMILY && name === NAME);
      if (exists && hasSpoofCheck(key, port, await nft.list(FAMILY, NAME))) return;
      throw broken(`the MACs that ${port} sends by are not checked any more`);
    },
    remove: (key) => changeTable((objects) => renderSpoofCheckRemoval([idOf(key)], objects)),
    collect: (ports) => changeTable((objects) => renderSpoofCheckRemoval(idsWithoutPort(ports, objects), objects)),
  };
}

/** The transaction that lets a port send by one MAC only; what an earlier one left of it goes first. Pure. */
export function renderSpoofCheck(key: AttachmentKey, port: string, mac: string, objects: readonly NftObject[]): string {
  const id = idOf(key);
  const chain = chainOf(id);
  const comment = `comment "${COMMENT_PREFIX}${id}"`;
  return [
    `add table ${TABLE}`,
    `add chain ${TABLE} ${BASE} { type filter hook prerouting priority -300; }`,
    ...[chain, `${chain}-mac`].flatMap((name) => [`add chain ${TABLE} ${name}`, `flush chain ${TABLE} ${name}`]),
    ...jumpsOf([id], objects).map((handle) => `delete rule ${TABLE} ${BASE} handle ${handle}`),
    `add rule ${TABLE} ${BASE} iifname "${port}" jump ${chain} ${comment}`,
    `add rule ${TABLE} ${chain} jump ${chain}-mac ${comment}`,
    `add rule ${TABLE} ${chain}-mac ether saddr ${mac} return ${comment}`,
    `add rule ${TABLE} ${chain}-mac drop ${comment}`,
    '',
  ].join('\n');
}

/** The transaction that takes the checks of these ids away; empty when none of them is there. Pure. */
export function renderSpoofCheckRemoval(ids: readonly string[], objects: readonly NftObject[]): string {
  const there = new Set(objects.flatMap(({ chain }) => (chain ? [String(chain.name)] : [])));
  const chains = ids.flatMap((id) => [chainOf(id), `${chainOf(id)}-mac`]).filter((name) => there.has(name));
  return [
    ...jumpsOf(ids, objects).map((handle) => `delete rule ${TABLE} ${BASE} handle ${handle}\n`),
    ...chains.map((name) => `flush chain ${TABLE} ${name}\n`),
    ...chains.map((name) => `delete chain ${TABLE} ${name}\n`),
  ].join('');
}

/** Of rules in PREROUTING whose port is gone. Pure. */
export function idsWithoutPort(ports: ReadonlySet<string>, objects: readonly NftObject[]): string[] {
  return objects.flatMap(({ rule }) => {
    const id = idOfJump(rule);
    const port = id === undefined ? undefined : JSON.stringify(rule?.expr).match(/"right":"([^"]+)"/)?.[1];
    return id !== undefined && port !== undefined && !ports.has(port) ? [id] : [];
  });
}

/** Whether the port's frames come to the drop at the end. Pure. */
export function hasSpoofCheck(key: AttachmentKey, port: string, objects: readonly NftObject[]): boolean {
  const chain = chainOf(idOf(key));
  const rules = objects.flatMap(({ rule }) => (rule ? [rule] : []));
  const has = (name: string, words: string[]) =>
    rules.some((rule) => rule.chain === name && words.every((word) => JSON.stringify(rule.expr).includes(word)));
  return (
    has(BASE, [`"${port}"`, `"target":"${chain}"`]) &&
    has(chain, [`"target":"${chain}-mac"`]) &&
    has(`${chain}-mac`, ['"drop"'])
  );
}

function jumpsOf(ids: readonly string[], objects: readonly NftObject[]): unknown[] {
  return objects.flatMap(({ rule }) => (ids.includes(idOfJump(rule) ?? '') ? [rule?.handle] : []));
}

function idOfJump(rule: NftObject[string] | undefined): string | undefined {
  const comment = rule?.chain === BASE ? rule.comment : undefined;
  return typeof comment === 'string' && comment.startsWith(COMMENT_PREFIX)
    ? comment.slice(COMMENT_PREFIX.length)
    : undefined;
}
