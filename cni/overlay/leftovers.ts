import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { BACKENDS, type BackendDeps } from './backends.ts';
import { OVERLAY_ALIAS } from './tunnel-link.ts';

/** Links with the names and kinds of an overlay's backends, except those of `keep`. Pure. */
export function findOverlayLinks<T extends Pick<Link, 'name' | 'kind'>>(links: readonly T[], keep?: string): T[] {
  const patterns = [...BACKENDS].filter(([type]) => type !== keep).flatMap(([, entry]) => entry.links);
  const kept = (keep !== undefined && BACKENDS.get(keep)?.links) || [];
  const matches = (link: T, some: typeof patterns | typeof kept) =>
    some.some(({ kind, name }) => link.kind === kind && name.test(link.name));
  return links.filter((link) => matches(link, patterns) && !matches(link, kept));
}

/**
 * Deletes what another backend left: its links, and with them every route over them. flanneld's too, unless `ownOnly`.
 * @returns names of the links.
 */
export async function removeLeftoverLinks(
  netlink: Rtnetlink,
  options: { keep?: string; ownOnly: boolean },
): Promise<string[]> {
  const found = findOverlayLinks(await netlink.listLinks(), options.keep).filter(
    ({ alias }) => !options.ownOnly || alias === OVERLAY_ALIAS,
  );
  for (const { index } of found)
    await netlink.deleteLink(index).catch((error) => {
      if (!isNetlinkError(error, 'ENODEV')) throw error;
    });
  return found.map(({ name }) => name);
}

/** What others keep elsewhere than in links: a daemon, its routes. */
export async function removeLeftoversBesideLinks(deps: BackendDeps, keep?: string): Promise<void> {
  await runAll(
    'remove leftovers of other backends',
    [...BACKENDS].flatMap(([type, { removeLeftovers }]) =>
      type === keep || !removeLeftovers ? [] : [() => removeLeftovers(deps)],
    ),
  );
}

/** Writes our mark upon the links of the running backend, where it is missing: a backend may make its link anew at any time. */
export async function markLinks(netlink: Rtnetlink, links: readonly Link[], backendType: string): Promise<void> {
  const patterns = BACKENDS.get(backendType)?.links ?? [];
  for (const { index, name, kind, alias } of links)
    if (alias !== OVERLAY_ALIAS && patterns.some((one) => one.kind === kind && one.name.test(name)))
      await netlink.setLink(index, { alias: OVERLAY_ALIAS }).catch((error) => {
        if (!isNetlinkError(error, 'ENODEV')) throw error;
      });
}
