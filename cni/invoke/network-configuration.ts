import { IDENTIFIER_RULE, isIdentifier } from '../wire/environment.ts';
import { type CniVersion, SUPPORTED_VERSIONS } from '../wire/versions.ts';

type Raw = Readonly<Record<string, unknown>>;

/** One plugin of a chain. */
export interface PluginConfiguration {
  type: string;
  /** What it wants to be told in `runtimeConfig`: `portMappings`, `bandwidth`, …. */
  capabilities: readonly string[];
  /** As it was written, without `capabilities`. */
  raw: Raw;
}

/** A network: what a conflist says, or a conf as the only one of a list. */
export interface NetworkConfiguration {
  name: string;
  cniVersion: CniVersion;
  disableCheck: boolean;
  disableGC: boolean;
  plugins: readonly PluginConfiguration[];
  /** The conflist as JSON text: kept with each attachment, so that it is detached by the configuration that attached it. */
  text: string;
  /** Berth's own network: its plugins are ours, whatever is installed under their names. */
  isBuiltin: boolean;
  /** Absent for the built-in network and for what was kept. */
  file?: string;
}

/** Runtimes ignore keys that they do not know. */
export const BUILTIN_KEY = 'berth.builtin';

/** What is wrong in a network configuration; the message begins with the field. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/**
 * Parses a conflist: `{cniVersion, cniVersions, name, disableCheck, disableGC, loadOnlyInlinedPlugins, plugins}`. Pure.
 * @param further gives the texts of `<directory>/<name>/*.conf`, which CNI 1.1 appends unless `loadOnlyInlinedPlugins`
 * @throws ConfigurationError
 */
export function parseConfigurationList(
  text: string,
  further: (name: string) => string[] = () => [],
): NetworkConfiguration {
  const raw = parseObject(text, 'the file');
  const name = nameOf(raw);
  const inlined = pluginsOf(raw);
  const onlyInlined = flagOf(raw, 'loadOnlyInlinedPlugins');
  if (onlyInlined && raw['plugins'] === undefined)
    throw new ConfigurationError('plugins: missing, while loadOnlyInlinedPlugins is true');
  const others = onlyInlined ? [] : further(name).map((one) => parseObject(one, `a file of ${name}/`));
  const plugins = [...inlined, ...others];
  if (plugins.length === 0) throw new ConfigurationError('plugins: the network has none');
  return {
    name,
    cniVersion: chooseVersion(raw),
    disableCheck: flagOf(raw, 'disableCheck'),
    disableGC: flagOf(raw, 'disableGC'),
    plugins: plugins.map(parsePlugin),
    isBuiltin: raw[BUILTIN_KEY] === true,
    // What is kept must be whole without the folder beside it.
    text: others.length === 0 ? text : JSON.stringify({ ...raw, plugins }),
  };
}

/** A plugin's configuration on its own (`.conf`, `.json`) becomes a list of one. Pure. @throws ConfigurationError */
export function parseSingleConfiguration(text: string): NetworkConfiguration {
  const raw = parseObject(text, 'the file');
  if (raw['type'] === undefined && raw['plugins'] !== undefined)
    throw new ConfigurationError('type: missing; a list of plugins belongs in a file that ends in .conflist');
  const { name, cniVersion } = raw;
  return parseConfigurationList(JSON.stringify({ name, cniVersion, plugins: [raw] }));
}

/** What is kept with an attachment: a list, or (libcni's AddNetwork, which multus calls) a plugin's on its own. Pure. @throws ConfigurationError */
export function parseKeptConfiguration(text: string): NetworkConfiguration {
  const isSingle = parseObject(text, 'the kept configuration')['plugins'] === undefined;
  return isSingle ? parseSingleConfiguration(text) : parseConfigurationList(text);
}

function nameOf({ name }: Raw): string {
  if (name === undefined || name === '') throw new ConfigurationError('name: missing');
  if (typeof name !== 'string' || !isIdentifier(name))
    throw new ConfigurationError(`name: ${JSON.stringify(name)} is not made of ${IDENTIFIER_RULE}`);
  return name;
}

function pluginsOf({ plugins }: Raw): unknown[] {
  if (plugins === undefined) return [];
  if (!Array.isArray(plugins)) throw new ConfigurationError(`plugins: ${JSON.stringify(plugins)} is not a list`);
  if (plugins.length === 0) throw new ConfigurationError('plugins: the list is empty');
  return plugins;
}

function parsePlugin(value: unknown, index: number): PluginConfiguration {
  const field = `plugins[${index}]`;
  if (!isObject(value)) throw new ConfigurationError(`${field}: ${JSON.stringify(value)} is not an object`);
  const { capabilities, ...raw } = value;
  const { type } = raw;
  if (typeof type !== 'string' || type === '') throw new ConfigurationError(`${field}.type: missing`);
  if (type.includes('/')) throw new ConfigurationError(`${field}.type: ${JSON.stringify(type)} is a path, not a name`);
  for (const key of ['ipam', 'args', 'runtimeConfig'])
    if (raw[key] !== undefined && raw[key] !== null && !isObject(raw[key]))
      throw new ConfigurationError(`${field}.${key}: ${JSON.stringify(raw[key])} is not an object`);
  return { type, raw, capabilities: capabilitiesOf(capabilities, field) };
}

function capabilitiesOf(value: unknown, field: string): string[] {
  if (value === undefined || value === null) return [];
  if (!isObject(value))
    throw new ConfigurationError(`${field}.capabilities: ${JSON.stringify(value)} is not an object`);
  return Object.entries(value).flatMap(([name, isWanted]) => {
    if (typeof isWanted !== 'boolean')
      throw new ConfigurationError(`${field}.capabilities.${name}: ${JSON.stringify(isWanted)} is not true or false`);
    return isWanted ? [name] : [];
  });
}

/** The highest of `cniVersions` (and `cniVersion`) that there is; versions of the future are no error there. */
function chooseVersion({ cniVersion, cniVersions }: Raw): CniVersion {
  const known = (version: unknown) => SUPPORTED_VERSIONS.find((one) => one === version);
  const accepted = `known are ${SUPPORTED_VERSIONS.join(', ')}`;
  if (cniVersion !== undefined && typeof cniVersion !== 'string')
    throw new ConfigurationError(`cniVersion: ${JSON.stringify(cniVersion)} is not a text`);
  if (cniVersions !== undefined) {
    if (!Array.isArray(cniVersions) || cniVersions.some((one) => typeof one !== 'string'))
      throw new ConfigurationError(`cniVersions: ${JSON.stringify(cniVersions)} is not a list of versions`);
    const best = SUPPORTED_VERSIONS.findLast((one) => cniVersions.includes(one) || cniVersion === one);
    if (best) return best;
    if (cniVersions.length > 0)
      throw new ConfigurationError(`cniVersions: none of ${JSON.stringify(cniVersions)} is known; ${accepted}`);
  }
  if (cniVersion === undefined || cniVersion === '') return SUPPORTED_VERSIONS[0];
  const version = known(cniVersion);
  if (!version) throw new ConfigurationError(`cniVersion: ${JSON.stringify(cniVersion)} is not known; ${accepted}`);
  return version;
}

/** CNI 1.1 takes the texts "true" and "false" too. */
function flagOf(raw: Raw, key: string): boolean {
  const value = raw[key];
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  const text = typeof value === 'string' ? value.toLowerCase() : '';
  if (text !== 'true' && text !== 'false')
    throw new ConfigurationError(`${key}: ${JSON.stringify(value)} is not true or false`);
  return text === 'true';
}

function parseObject(text: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ConfigurationError(`${what} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isObject(value)) throw new ConfigurationError(`${what} is not a JSON object`);
  return value;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
