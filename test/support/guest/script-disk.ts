import { copyFileSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { run } from '../../../src/linux/exec.ts';

/** With binaries of their own, which stay beside them. */
const NATIVE = ['netlink', 'node-gyp-build', 'koffi', '@koromix'];
const COPY_TIMEOUT_MS = 120_000;

/** One program of the checkout, bundled, with Node to run it, as an ext4 file system for a guest's second disk: `bin/node` and `main.mjs`. */
export async function makeScriptDisk(folder: string, program: string): Promise<string> {
  const stage = mkdtempSync(join(folder, 'script-'));
  try {
    await build({
      entryPoints: [join(CHECKOUT, program)],
      outfile: join(stage, 'main.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      external: NATIVE,
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
      logLevel: 'silent',
    });
    mkdirSync(join(stage, 'bin'));
    copyFileSync(realpathSync(process.execPath), join(stage, 'bin/node'));
    for (const name of NATIVE)
      cpSync(join(CHECKOUT, 'node_modules', name), join(stage, 'node_modules', name), { recursive: true });
    const disk = join(folder, 'script.ext4');
    await run('mke2fs', ['-q', '-t', 'ext4', '-d', stage, disk, '300M'], { timeoutMs: COPY_TIMEOUT_MS });
    return disk;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}
