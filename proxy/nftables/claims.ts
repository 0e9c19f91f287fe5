import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import type { ClaimedElement, Draw, ServicePortRules } from './service-rules.ts';

interface Claim extends ClaimedElement {
  readonly owner: string;
}

/** What has to change in the shared sets: by set, elements that go and elements that come (after those have gone). */
export interface ElementChanges {
  readonly removed: ReadonlyMap<SetDefinition, readonly SetElement[]>;
  readonly added: ReadonlyMap<SetDefinition, readonly SetElement[]>;
}

/**
 * Elements that service ports ask for in shared sets, with the endpoints that go with them. Two may ask for one key: ports of
 * a Service share its ClusterIP, Services may name one external address. The owner that comes first in order has it,
 * whoever came earlier in time, and its heir when it goes.
 */
export class ElementClaims {
  /** By set and key. Nearly every key has one claim, so no list is made for it. */
  readonly #claims = new Map<string, Claim | readonly Claim[]>();
  /** Who had a key before the changes that are not taken yet. */
  #before = new Map<string, Claim | undefined>();

  add({ owner, elements }: ServicePortRules): void {
    for (const { set, element, draws } of elements) {
      const key = this.#touch(set, element);
      const claim: Claim = { owner, set, element, draws };
      const known = this.#claims.get(key);
      this.#claims.set(
        key,
        known === undefined ? claim : [...listOf(known), claim].sort((a, b) => (a.owner < b.owner ? -1 : 1)),
      );
    }
  }

  remove({ owner, elements }: ServicePortRules): void {
    for (const { set, element } of elements) {
      const key = this.#touch(set, element);
      const left = listOf(this.#claims.get(key)).filter((claim) => claim.owner !== owner || claim.element !== element);
      if (left.length === 0) this.#claims.delete(key);
      else this.#claims.set(key, left.length === 1 ? left[0]! : left);
    }
  }

  /** The difference between now and the last call. */
  takeChanges(): ElementChanges {
    const changes = { removed: new Map<SetDefinition, SetElement[]>(), added: new Map<SetDefinition, SetElement[]>() };
    for (const [key, before] of this.#before) compare(changes, before, listOf(this.#claims.get(key))[0]);
    this.#before = new Map();
    return changes;
  }

  /** Forgets what has changed: all of it is being written. */
  settle(): void {
    this.#before = new Map();
  }

  /** All elements that stand. */
  *standing(): Generator<{ set: SetDefinition; element: SetElement }, void> {
    for (const claims of this.#claims.values()) {
      const { set, element, draws } = listOf(claims)[0]!;
      yield { set, element };
      for (const { map, endpoints } of draws ?? [])
        for (const index of endpoints.keys()) yield { set: map, element: drawnElement(element, endpoints, index) };
    }
  }

  #touch(set: SetDefinition, { key }: SetElement): string {
    const id = `${set.name} ${key.join(' . ')}`;
    if (!this.#before.has(id)) this.#before.set(id, listOf(this.#claims.get(id))[0]);
    return id;
  }
}

function listOf(claims: Claim | readonly Claim[] | undefined): readonly Claim[] {
  return claims === undefined ? [] : 'owner' in claims ? [claims] : claims;
}

interface MutableChanges {
  removed: Map<SetDefinition, SetElement[]>;
  added: Map<SetDefinition, SetElement[]>;
}

function compare(changes: MutableChanges, before: Claim | undefined, now: Claim | undefined): void {
  const isSame = before && now && isSameElement(before.element, now.element);
  if (before && !isSame) append(changes.removed, before.set, before.element);
  if (now && !isSame) append(changes.added, now.set, now.element);
  for (const { map, endpoints } of before?.draws ?? []) {
    const kept = endpointsIn(now, map);
    for (const [index, { address }] of endpoints.entries())
      if (kept[index]?.address !== address)
        append(changes.removed, map, drawnElement(before!.element, endpoints, index));
  }
  for (const { map, endpoints } of now?.draws ?? []) {
    const old = endpointsIn(before, map);
    for (const [index, { address }] of endpoints.entries())
      if (old[index]?.address !== address) append(changes.added, map, drawnElement(now!.element, endpoints, index));
  }
}

function endpointsIn(claim: Claim | undefined, map: SetDefinition): Draw['endpoints'] {
  return claim?.draws?.find((draw) => draw.map === map)?.endpoints ?? [];
}

function drawnElement({ key }: SetElement, endpoints: Draw['endpoints'], index: number): SetElement {
  const { ip, port } = endpoints[index]!;
  return { key: [...key, index], data: [ip, port] };
}

function append(changes: Map<SetDefinition, SetElement[]>, set: SetDefinition, element: SetElement): void {
  const known = changes.get(set);
  if (known) known.push(element);
  else changes.set(set, [element]);
}

function isSameElement(a: SetElement, b: SetElement): boolean {
  return dataText(a) === dataText(b) && a.comment === b.comment;
}

function dataText({ data }: SetElement): string {
  return data === undefined ? '' : 'code' in data ? `${data.code} ${data.chain ?? ''}` : data.join(' . ');
}
