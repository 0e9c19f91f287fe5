import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { unpackPackages } from '../debian/packages.ts';

const PACKAGE = 'user-mode-linux';

/** A Linux kernel that is a program, with its modules. */
export interface UmlKernel {
  program: string;
  /** `/lib/modules/<version>` of it. */
  modules: string;
}

/** The kernel that `fetchUmlKernel` has left in the checkout; undefined when there is none. */
export function findUmlKernel(checkout: string): UmlKernel | undefined {
  const unpacked = folderOf(checkout);
  const program = join(unpacked, 'usr/bin/linux.uml');
  const modules = join(unpacked, 'usr/lib/uml/modules');
  const version = existsSync(program) && existsSync(modules) ? readdirSync(modules)[0] : undefined;
  return version === undefined ? undefined : { program, modules: join(modules, version) };
}

/** Debian's user-mode-linux, unpacked beside the system unless it is there. Throws when this host cannot have it. */
export async function fetchUmlKernel(checkout: string): Promise<void> {
  if (findUmlKernel(checkout)) return;
  const folder = folderOf(checkout);
  const partial = mkdtempSync(join(dirname(folder), `${PACKAGE}-`));
  try {
    await unpackPackages([PACKAGE], partial);
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

function folderOf(checkout: string): string {
  return join(checkout, '.toolchain', PACKAGE);
}
