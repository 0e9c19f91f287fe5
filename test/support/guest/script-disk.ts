import { copyFileSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { run } from '../../../src/linux/exec.ts';
import { bundlePrograms, NATIVE_PACKAGES } from '../bundle-program.ts';

const COPY_TIMEOUT_MS = 120_000;

/**
 * One program of the checkout, bundled, with Node to run it, as an ext4 file system for a guest's second disk: `bin/node` and `main.mjs`.
 * @param others that the program starts: by name, beside it as `<name>.mjs`.
 */
export async function makeScriptDisk(
  folder: string,
  program: string,
  others: Readonly<Record<string, string>> = {},
): Promise<string> {
  const stage = mkdtempSync(join(folder, 'script-'));
  try {
    await bundlePrograms(stage, { main: program, ...others });
    mkdirSync(join(stage, 'bin'));
    copyFileSync(realpathSync(process.execPath), join(stage, 'bin/node'));
    for (const name of NATIVE_PACKAGES)
      cpSync(join(CHECKOUT, 'node_modules', name), join(stage, 'node_modules', name), { recursive: true });
    const disk = join(folder, 'script.ext4');
    await run('mke2fs', ['-q', '-t', 'ext4', '-d', stage, disk, '300M'], { timeoutMs: COPY_TIMEOUT_MS });
    return disk;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}
