import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import {
  type NetworkConfiguration,
  parseConfigurationList,
  parseSingleConfiguration,
} from './network-configuration.ts';

/** kubelet's and containerd's place. */
export const DEFAULT_CONF_DIR = '/etc/cni/net.d';

/** A file that cannot be used, and why. */
export interface ConfigurationProblem {
  file: string;
  message: string;
}

export interface DirectoryContent {
  /** Of the first file, in the order of names, that can be used. */
  configuration: NetworkConfiguration | undefined;
  /** Of the files before it, and of the directory itself. */
  problems: ConfigurationProblem[];
}

const EXTENSIONS = ['.conf', '.conflist', '.json'];

/**
 * The network configuration of a directory as runtimes choose it: files by name, the first that can be used.
 * @param isWanted a configuration that is not wanted is passed over in silence
 */
export function readConfigurationDirectory(
  directory: string,
  isWanted: (configuration: NetworkConfiguration) => boolean = () => true,
): DirectoryContent {
  const problems: ConfigurationProblem[] = [];
  let names: string[];
  try {
    names = filesOf(directory, EXTENSIONS);
  } catch (error) {
    return { configuration: undefined, problems: [{ file: directory, message: messageOf(error) }] };
  }
  for (const name of names) {
    const file = join(directory, name);
    try {
      const configuration = { ...parseFile(directory, name), file };
      if (isWanted(configuration)) return { configuration, problems };
    } catch (error) {
      problems.push({ file, message: messageOf(error) });
    }
  }
  return { configuration: undefined, problems };
}

function parseFile(directory: string, name: string): NetworkConfiguration {
  const text = readText(join(directory, name));
  if (extname(name) !== '.conflist') return parseSingleConfiguration(text);
  return parseConfigurationList(text, (network) => {
    const folder = join(directory, network);
    return filesOf(folder, ['.conf']).map((file) => readText(join(folder, file)));
  });
}

/** Of a plain file, or a link to one: a pipe would hold the whole process until somebody writes to it. */
function readText(file: string): string {
  if (!statSync(file).isFile()) throw new Error('it is no plain file');
  return readFileSync(file, 'utf8');
}

/** Names in order; empty for a directory that is not there. */
function filesOf(directory: string, extensions: readonly string[]): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && extensions.includes(extname(entry.name)))
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
