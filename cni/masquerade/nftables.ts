/*
 * Masquerading in a table of nf_tables' own, which all networks of the host share:
 *
 *     postrouting: multicast → return; goto masq_checks
 *     masq_checks: saddr <container> daddr != <its subnet> masquerade    one rule an address, tagged by comment
 *
 * Packets of one connection pass it once, so the chain's length counts for new connections only.
 */
import { formatIp, formatPrefix, networkOf, parsePrefix } from '../../src/linux/ip.ts';
import type { NftObject } from '../../src/netfilter/nft.ts';
import type { AttachmentKey } from '../types.ts';
import { attachmentTag, networkTag, nftablesComment } from './identity.ts';

export const MASQUERADE_TABLE = { family: 'inet', name: 'cni_plugins_masquerade' } as const;
const TABLE = `${MASQUERADE_TABLE.family} ${MASQUERADE_TABLE.name}`;
const CHECKS = 'masq_checks';

const SKELETON = `add table ${TABLE}
add chain ${TABLE} ${CHECKS}
add chain ${TABLE} postrouting { type nat hook postrouting priority 100; }
flush chain ${TABLE} postrouting
add rule ${TABLE} postrouting ip daddr 224.0.0.0/4 return
add rule ${TABLE} postrouting ip6 daddr ff00::/8 return
add rule ${TABLE} postrouting goto ${CHECKS}
`;

/**
 * The transaction that masquerades what an attachment sends out of its subnets. What an earlier ADD of it left goes first. Pure.
 * @param addresses with prefix length, of any family
 * @param objects what the table holds now
 */
export function renderMasquerade(
  network: string,
  key: AttachmentKey,
  addresses: readonly string[],
  objects: readonly NftObject[],
): string {
  const comment = nftablesComment(network, key);
  const rules = addresses.map((text) => {
    const prefix = parsePrefix(text);
    const ip = prefix.family === 4 ? 'ip' : 'ip6';
    const match = `${ip} saddr ${formatIp(prefix.address)} ${ip} daddr != ${formatPrefix(networkOf(prefix))}`;
    return `add rule ${TABLE} ${CHECKS} ${match} masquerade comment "${comment}"\n`;
  });
  const stale = renderDeletions(objects, (text) => text.startsWith(attachmentTag(network, key)));
  return [SKELETON, stale, ...rules].join('');
}

/** Whether as many rules are the attachment's as it has addresses, and packets get to them. Pure. */
export function hasMasquerade(
  network: string,
  key: AttachmentKey,
  addresses: readonly string[],
  objects: readonly NftObject[],
): boolean {
  const tag = attachmentTag(network, key);
  const rules = objects.flatMap(({ rule }) => (rule ? [rule] : []));
  const own = rules.filter(({ chain, comment }) => chain === CHECKS && String(comment ?? '').startsWith(tag));
  return (
    own.length >= addresses.length && rules.some(({ expr }) => JSON.stringify(expr).includes(`"target":"${CHECKS}"`))
  );
}

/** The transaction that takes an attachment's rules away; empty when it has none. Pure. */
export function renderMasqueradeRemoval(network: string, key: AttachmentKey, objects: readonly NftObject[]): string {
  return renderDeletions(objects, (comment) => comment.startsWith(attachmentTag(network, key)));
}

/** The transaction that leaves the rules of a network's valid attachments only; empty when there are no others. Pure. */
export function renderMasqueradeCollection(
  network: string,
  valid: readonly AttachmentKey[],
  objects: readonly NftObject[],
): string {
  const own = `${networkTag(network)}-`;
  const keep = new Set(valid.map((key) => attachmentTag(network, key)));
  const tagLength = attachmentTag(network, { containerId: '', ifname: '' }).length;
  return renderDeletions(objects, (comment) => comment.startsWith(own) && !keep.has(comment.slice(0, tagLength)));
}

function renderDeletions(objects: readonly NftObject[], isStale: (comment: string) => boolean): string {
  return objects
    .flatMap(({ rule }) =>
      rule?.chain === CHECKS && typeof rule.comment === 'string' && isStale(rule.comment)
        ? [`delete rule ${TABLE} ${CHECKS} handle ${rule.handle}\n`]
        : [],
    )
    .join('');
}
