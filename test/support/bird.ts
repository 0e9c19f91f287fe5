import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { bird, debianProgramPath } from '../../cli/testing/debian-program.ts';

/** A program that starts Debian's BIRD with the libraries beside it, in `directory`; undefined when it was not fetched. */
export function installBird(directory: string): string | undefined {
  const kept = debianProgramPath(CHECKOUT, bird);
  const program = join(kept, 'sbin/bird');
  if (!existsSync(program)) return undefined;
  const libraries = readdirSync(join(kept, 'lib')).filter((name) => name.endsWith('-linux-gnu'));
  const path = libraries.map((name) => join(kept, 'lib', name)).join(':');
  const wrapper = join(directory, 'bird');
  mkdirSync(directory, { recursive: true });
  writeFileSync(wrapper, `#!/bin/sh\nLD_LIBRARY_PATH='${path}' exec '${program}' "$@"\n`, { mode: 0o755 });
  return wrapper;
}
