import { CNI_ERROR, CniError, type CniResult } from '../types.ts';
import { IDENTIFIER_RULE, isIdentifier } from './environment.ts';
import { parseResult } from './result.ts';
import { type CniVersion, parseVersion } from './versions.ts';

/** A plugin's configuration as it comes on stdin: the keys that all have, and its own. */
export interface NetConf {
  cniVersion: CniVersion;
  /** Of the network; what a plugin keeps is filed under it. */
  name: string;
  type: string;
  ipam: Readonly<Record<string, unknown>> & { type?: string };
  /** Of the plugin before in the chain, or of the whole ADD. */
  prevResult?: CniResult;
  /** By capability: `portMappings`, `ips`, `mac`, …. */
  runtimeConfig: Readonly<Record<string, unknown>>;
  /** Everything, as it was written. */
  raw: Readonly<Record<string, unknown>>;
}

/** @throws CniError 6 for what is no JSON object, 7 for a name that is none, 1 for a version that there is not. */
export function parseNetConf(stdin: string): NetConf {
  return readNetConf(parseObject(stdin));
}

/** The same of what is an object already. @throws as `parseNetConf`. */
export function readNetConf(raw: Readonly<Record<string, unknown>>): NetConf {
  const cniVersion = parseVersion(raw['cniVersion']);
  const { name, type, prevResult } = raw;
  if (typeof name !== 'string' || name === '')
    throw new CniError(CNI_ERROR.invalidNetworkConfig, 'missing network name:');
  if (!isIdentifier(name))
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `invalid network name ${JSON.stringify(name)}`, {
      details: IDENTIFIER_RULE,
    });
  const section = (key: string) => {
    const value = raw[key] ?? {};
    if (typeof value !== 'object' || Array.isArray(value))
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `${key}: must be an object`);
    return value as Record<string, unknown>;
  };
  const ipam = section('ipam');
  if (isSaid(ipam['type']) && typeof ipam['type'] !== 'string')
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `ipam.type: ${JSON.stringify(ipam['type'])} is not a text`);
  return {
    cniVersion,
    name,
    type: typeof type === 'string' ? type : '',
    ipam,
    runtimeConfig: section('runtimeConfig'),
    raw,
    // Where there is none, some runtimes write null.
    ...(isSaid(prevResult) && { prevResult: parseResult(prevResult, cniVersion) }),
  };
}

/** The version that VERSION is asked for; undefined where stdin does not say: the reference plugins do not read it. */
export function versionAskedFor(stdin: string): unknown {
  try {
    return parseObject(stdin)['cniVersion'];
  } catch {
    return undefined;
  }
}

const isSaid = (value: unknown) => value !== undefined && value !== null;

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CniError(CNI_ERROR.decodeFailure, `error unmarshall network config: ${(cause as Error).message}`, {
      cause,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CniError(CNI_ERROR.decodeFailure, 'the network config on stdin is no JSON object');
  return value as Record<string, unknown>;
}
