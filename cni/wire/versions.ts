import { CNI_ERROR, CniError } from '../types.ts';

/** Versions of the specification that results can be written in and read from, oldest first. */
export const SUPPORTED_VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof SUPPORTED_VERSIONS)[number];

/** A configuration that does not say is of the first version. */
const UNSAID: CniVersion = '0.1.0';

/** @throws CniError 1 for one that there is not, or that is older than `least`. */
export function parseVersion(text: unknown, least: CniVersion = '0.1.0'): CniVersion {
  const version = text === undefined || text === null || text === '' ? UNSAID : text;
  const index = SUPPORTED_VERSIONS.indexOf(version as CniVersion);
  if (index < SUPPORTED_VERSIONS.indexOf(least))
    throw new CniError(CNI_ERROR.incompatibleVersion, 'incompatible CNI versions', {
      details: `config is ${JSON.stringify(version)}, plugin supports ${JSON.stringify(SUPPORTED_VERSIONS.slice(SUPPORTED_VERSIONS.indexOf(least)))}`,
    });
  return SUPPORTED_VERSIONS[index]!;
}

export function isAtLeast(version: CniVersion, least: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(least);
}
