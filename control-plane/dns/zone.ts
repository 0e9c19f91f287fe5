import { isDeepStrictEqual } from 'node:util';
import type { DnsRecord } from './records.ts';
import type { NamedRecords } from './service-records.ts';

/** A name that exists. Without records it still does: something stands below it, or it is a namespace. A change makes a new object. */
export interface ZoneName {
  readonly records: readonly DnsRecord[];
}

/** The names of the cluster domain, and those that lead from its addresses back; cost of a change follows the change. */
export interface Zone {
  /** `cluster.local` */
  readonly domain: string;
  find(name: string): ZoneName | undefined;
  /** True for the domain and every name below it. */
  contains(name: string): boolean;
  /** Makes these the names of `owner`; what it said before and says no more goes. */
  set(owner: string, names: readonly NamedRecords[]): void;
  /** Grows with every change (the SOA's serial number follows it). */
  version(): number;
  /** How many names there are. */
  size(): number;
}

interface Entry {
  parts: { owner: string; records: readonly DnsRecord[] }[];
  /** Entries right below. */
  children: number;
  view: ZoneName;
}

const NOTHING: ZoneName = { records: [] };

export function createZone(domain: string): Zone {
  const entries = new Map<string, Entry>();
  const namesOf = new Map<string, readonly NamedRecords[]>();
  const suffix = `.${domain}`;
  let version = 0;
  const contains = (name: string) => name.endsWith(suffix) || name === domain;

  /** The name above, within the zone. Names of addresses stand alone: what is around them belongs to others. */
  function parentOf(name: string): string | undefined {
    return name.endsWith(suffix) ? name.slice(name.indexOf('.') + 1) : undefined;
  }

  function entryAt(name: string): Entry {
    let entry = entries.get(name);
    if (entry) return entry;
    entry = { parts: [], children: 0, view: NOTHING };
    entries.set(name, entry);
    const parent = parentOf(name);
    if (parent !== undefined) entryAt(parent).children++;
    return entry;
  }

  function removeIfUnused(name: string, entry: Entry): void {
    if (entry.parts.length > 0 || entry.children > 0) return;
    entries.delete(name);
    const parent = parentOf(name);
    const above = parent === undefined ? undefined : entries.get(parent);
    if (!above || parent === undefined) return;
    above.children--;
    removeIfUnused(parent, above);
  }

  function put(owner: string, name: string, records: readonly DnsRecord[]): void {
    const entry = entryAt(name);
    entry.parts = [...entry.parts.filter((part) => part.owner !== owner), { owner, records }];
    entry.view = viewOf(entry);
  }

  function drop(owner: string, name: string): void {
    const entry = entries.get(name);
    if (!entry) return;
    entry.parts = entry.parts.filter((part) => part.owner !== owner);
    entry.view = viewOf(entry);
    removeIfUnused(name, entry);
  }

  return {
    domain,
    contains,
    find: (name) => entries.get(name)?.view,
    set(owner, names) {
      const before = new Map((namesOf.get(owner) ?? []).map(({ name, records }) => [name, records]));
      let changed = false;
      for (const { name, records } of names) {
        const old = before.get(name);
        before.delete(name);
        if (old && isDeepStrictEqual(old, records)) continue;
        put(owner, name, records);
        changed = true;
      }
      for (const name of before.keys()) {
        drop(owner, name);
        changed = true;
      }
      if (names.length > 0) namesOf.set(owner, names);
      else namesOf.delete(owner);
      if (changed) version++;
    },
    version: () => version,
    size: () => entries.size,
  };
}

function viewOf({ parts }: Entry): ZoneName {
  if (parts.length === 1) return { records: parts[0]!.records };
  return parts.length === 0 ? NOTHING : { records: parts.flatMap(({ records }) => records) };
}
