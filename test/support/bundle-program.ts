import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { CHECKOUT } from '../../cli/daemon/launch.ts';

/** With binaries of their own, which stay beside what is bundled. */
export const NATIVE_PACKAGES = ['netlink', 'node-gyp-build', 'koffi', '@koromix'];

/** Programs of the checkout, each bundled into one file `<name>.mjs` of a folder: to run where there is no checkout, or often and without delay. */
export async function bundlePrograms(folder: string, programs: Readonly<Record<string, string>>): Promise<void> {
  await build({
    entryPoints: Object.fromEntries(Object.entries(programs).map(([name, path]) => [name, join(CHECKOUT, path)])),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    external: NATIVE_PACKAGES,
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'silent',
  });
}

/** For bundles that run on the machine of the checkout. */
export function linkPackages(folder: string): void {
  symlinkSync(join(CHECKOUT, 'node_modules'), join(folder, 'node_modules'));
}
