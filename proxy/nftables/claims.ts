import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import type { ClaimedElement, ServicePortRules } from './service-rules.ts';

interface Claim extends ClaimedElement {
  readonly owner: string;
}

/** What has to change in the shared sets: by set, elements that go and elements that come (after those have gone). */
export interface ElementChanges {
  readonly removed: ReadonlyMap<SetDefinition, readonly SetElement[]>;
  readonly added: ReadonlyMap<SetDefinition, readonly SetElement[]>;
}

/**
 * Elements that service ports ask for in shared sets. Two may ask for one key: ports of a Service share its ClusterIP, Services may
 * name one external address. The owner that comes first in order has it, whoever came earlier in time, and its heir when it goes.
 */
export class ElementClaims {
  /** By set and key. Nearly every key has one claim, so no list is made for it. */
  readonly #claims = new Map<string, Claim | readonly Claim[]>();
  /** Who had a key before the changes that are not taken yet. */
  #before = new Map<string, Claim | undefined>();

  add({ owner, elements }: ServicePortRules): void {
    for (const { set, element } of elements) {
      const key = this.#touch(set, element);
      const claim: Claim = { owner, set, element };
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
    const removed = new Map<SetDefinition, SetElement[]>();
    const added = new Map<SetDefinition, SetElement[]>();
    for (const [key, before] of this.#before) {
      const now = listOf(this.#claims.get(key))[0];
      if (before && now && isSame(before.element, now.element)) continue;
      if (before) append(removed, before);
      if (now) append(added, now);
    }
    this.#before = new Map();
    return { removed, added };
  }

  /** All elements that stand. */
  *standing(): Generator<ClaimedElement, void> {
    for (const claims of this.#claims.values()) yield listOf(claims)[0]!;
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

function append(changes: Map<SetDefinition, SetElement[]>, { set, element }: Claim): void {
  const known = changes.get(set);
  if (known) known.push(element);
  else changes.set(set, [element]);
}

function isSame(a: SetElement, b: SetElement): boolean {
  return dataText(a) === dataText(b) && a.comment === b.comment;
}

function dataText({ data }: SetElement): string {
  return data === undefined ? '' : 'code' in data ? `${data.code} ${data.chain ?? ''}` : data.join(' . ');
}
