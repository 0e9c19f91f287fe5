import { aggregationPackage } from './aggregation.ts';
import type { PackageFacts } from './facts.ts';

/** The release that Berth's control plane emulates: what it no longer serves is not generated. */
const emulatedMinor = 36;

/**
 * Leaves out the packages whose every kind was removed by the emulated release, and adds those that Debian has no sources
 * of and those kinds that Go registers in every group and version.
 */
export function servedPackages(packages: ReadonlyMap<string, PackageFacts>): Map<string, PackageFacts> {
  const served = new Map<string, PackageFacts>();
  for (const [id, facts] of [...packages, aggregationPackage()].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const kinds = Object.values(facts.kinds);
    const current = kinds.filter(
      ({ removed }) => removed === undefined || Number(removed.split('.')[1]) > emulatedMinor,
    );
    if (current.length === 0) continue;
    served.set(id, { ...facts, kinds: { ...facts.kinds, ...sharedKinds(id) } });
  }
  return served;
}

const optionKinds = [
  'ListOptions',
  'GetOptions',
  'DeleteOptions',
  'CreateOptions',
  'UpdateOptions',
  'PatchOptions',
  'WatchEvent',
];
const unversionedKinds = ['Status', 'APIVersions', 'APIGroupList', 'APIGroup', 'APIResourceList'];

/** What `metav1.AddToGroupVersion` registers. */
function sharedKinds(id: string): PackageFacts['kinds'] {
  const names = id === 'core/v1' ? [...optionKinds, ...unversionedKinds] : optionKinds;
  return Object.fromEntries(names.map((name) => [name, { type: `${id === 'meta/v1' ? '' : 'meta/v1'}#${name}` }]));
}
