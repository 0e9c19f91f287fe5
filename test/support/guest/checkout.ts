import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { imagesFolder } from '../../../cli/cluster/images-folder.ts';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { buildImage } from '../../../cli/images/build.ts';
import { recipes } from '../../../cli/images/catalog.ts';
import { run } from '../../../src/linux/exec.ts';

/** What a host needs of a checkout to run `berth up` without a network. */
const PARTS = [
  ...['agent', 'berth', 'cli', 'cni', 'control-plane', 'proxy', 'src', 'systemd', 'node_modules'],
  ...['package.json', 'package-lock.json', 'tsconfig.json'],
  ...['.toolchain/bin', '.toolchain/node_modules', '.toolchain/installed', '.toolchain/bundle'],
];
const COPY_TIMEOUT_MS = 180_000;

/** The checkout with kubectl and the images `names`, as an ext4 file system for a guest's second disk. `folder` must hold some 2 GB. */
export async function makeCheckoutDisk(folder: string, kubectl: string, names: readonly string[]): Promise<string> {
  // The launcher would make a stale bundle anew inside the guest, where that takes minutes.
  await run(join(CHECKOUT, '.toolchain/bin/node'), [join(CHECKOUT, 'cli/bundle/build.ts')], {
    timeoutMs: COPY_TIMEOUT_MS,
  });
  const stage = mkdtempSync(join(folder, 'checkout-'));
  try {
    await run('cp', ['-a', '--parents', ...PARTS.filter((part) => existsSync(join(CHECKOUT, part))), stage], {
      cwd: CHECKOUT,
      timeoutMs: COPY_TIMEOUT_MS,
    });
    const place = (source: string, target: string) => {
      mkdirSync(dirname(join(stage, target)), { recursive: true });
      cpSync(source, join(stage, target), { preserveTimestamps: true });
    };
    place(realpathSync(kubectl), '.toolchain/kubectl/usr/bin/kubectl');
    for (const recipe of recipes.filter(({ name }) => names.includes(name))) {
      const archive = await buildImage(recipe, imagesFolder());
      place(archive, archive.slice(CHECKOUT.length + 1));
    }
    const disk = join(folder, 'checkout.ext4');
    await run('mke2fs', ['-q', '-t', 'ext4', '-d', stage, disk, '2G'], { timeoutMs: COPY_TIMEOUT_MS });
    return disk;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}
