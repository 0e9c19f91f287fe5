import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CONTROL_SOCKET, LOG_FILE, MAIN_FILE, NETWORKS_FILE, PID_FILE } from './bird-config.ts';

/** BIRD's configuration on disk, with the memory of what stands there: a change costs the files that it touches. */
export interface ConfigFiles {
  /** Writes what differs and deletes what is `undefined`. Answers how to take it back; undefined when nothing differed. */
  write(files: ReadonlyMap<string, string | undefined>): { changed: number; undo(): void } | undefined;
  /** Names below `peers/` that are there. */
  listPeers(): string[];
}

/** Files are of mode 0600 (they may have a password in them) and whole at any instant. */
export function openConfigFiles(directory: string): ConfigFiles {
  mkdirSync(join(directory, 'peers'), { recursive: true, mode: 0o700 });
  const known = new Map<string, string | undefined>();

  function read(name: string): string | undefined {
    if (known.has(name)) return known.get(name);
    try {
      return readFileSync(join(directory, name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  function put(name: string, content: string | undefined): void {
    const path = join(directory, name);
    known.delete(name);
    if (content === undefined) rmSync(path, { force: true });
    else {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      // BIRD includes `*.conf`: a half-written file has another ending.
      writeFileSync(`${path}.new`, content, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    }
    known.set(name, content);
  }

  return {
    write(files) {
      const before = new Map<string, string | undefined>();
      const undo = () => {
        for (const [name, content] of before) put(name, content);
      };
      try {
        for (const [name, content] of files) {
          const earlier = read(name);
          if (earlier === content) {
            known.set(name, content);
            continue;
          }
          before.set(name, earlier);
          put(name, content);
        }
      } catch (error) {
        undo();
        throw error;
      }
      return before.size === 0 ? undefined : { changed: before.size, undo };
    },
    listPeers: () => readdirSync(join(directory, 'peers')).map((name) => `peers/${name}`),
  };
}

const OWN_NAMES = [MAIN_FILE, NETWORKS_FILE, CONTROL_SOCKET, PID_FILE, LOG_FILE, `${LOG_FILE}.1`];

/** Deletes what the backend and its BIRD have written, a half-written file too, and the directory unless others have something in it. Idempotent. */
export function removeConfigFiles(directory: string): void {
  const peers = join(directory, 'peers');
  for (const name of OWN_NAMES)
    for (const ending of ['', '.new']) rmSync(join(directory, `${name}${ending}`), { force: true });
  for (const name of listOrNone(peers)) if (/\.conf(\.new)?$/.test(name)) rmSync(join(peers, name), { force: true });
  for (const path of [peers, directory]) if (listOrNone(path).length === 0) removeEmpty(path);
}

function listOrNone(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
