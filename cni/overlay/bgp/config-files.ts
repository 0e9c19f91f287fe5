import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

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
