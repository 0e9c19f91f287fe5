import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../src/runtime/log.ts';
import { type DockerConfigEntry, parseDockerCfg, parseDockerConfigJson } from './docker-config.ts';
import type { ConfigEntries } from './keyring.ts';

export interface NodeCredentials {
  /** Read anew for each pull: a rotated password needs no restart. */
  read(): Promise<ConfigEntries[]>;
}

/** A file as the Docker client writes it, and how it is read. */
interface CandidateFile {
  path: string;
  parse(text: string): DockerConfigEntry[];
}

/**
 * Credentials that every pod of the node may use, from the first readable file of upstream's list: `config.json` below the
 * agent's root, then `.docker/config.json` of its user and of `/`, then the legacy `.dockercfg` of the same places.
 */
export function createNodeCredentials(
  { rootDir, homeDir }: { rootDir: string; homeDir: string },
  { log }: { log: Logger },
): NodeCredentials {
  const files: CandidateFile[] = [
    ...[rootDir, join(homeDir, '.docker'), '/.docker'].map((folder) => ({
      path: join(folder, 'config.json'),
      parse: parseDockerConfigJson,
    })),
    ...[rootDir, homeDir, '/'].map((folder) => ({ path: join(folder, '.dockercfg'), parse: parseDockerCfg })),
  ];

  async function entriesOf({ path, parse }: CandidateFile): Promise<DockerConfigEntry[] | undefined> {
    try {
      return parse(await readFile(path, 'utf8'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn({ err: error, file: path }, "the node's registry credentials cannot be read");
      return undefined;
    }
  }

  return {
    async read() {
      for (const file of files) {
        const entries = await entriesOf(file);
        if (entries) return [{ source: undefined, entries }];
      }
      return [];
    },
  };
}
