import { CNI_ERROR, CniError, type CniRoute } from '../types.ts';
import { canonicalRoute } from '../wire/canonical.ts';
import type { Fields } from '../wire/fields.ts';
import { type CniVersion, isAtLeast } from '../wire/versions.ts';

/** `ipam.routes`. @throws CniError 7 for one without a destination, or with what is no address. */
export function routesOf(ipam: Fields): CniRoute[] {
  return ipam.list('routes').map((route) => {
    try {
      return canonicalRoute((route ?? {}) as CniRoute);
    } catch (cause) {
      throw invalid(`ipam.routes: ${JSON.stringify(route)}: ${(cause as Error).message}`);
    }
  });
}

/** Results before 0.3.0 have room for one address of each family. @throws CniError 7. */
export function refuseManyOfOneFamily(version: CniVersion, families: readonly (4 | 6)[]): void {
  if (isAtLeast(version, '0.3.0') || new Set(families).size === families.length) return;
  throw invalid(`CNI version ${version} does not support more than 1 address per family`);
}

const invalid = (message: string) => new CniError(CNI_ERROR.invalidNetworkConfig, message);
