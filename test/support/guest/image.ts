import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { unpackPackages } from '../../../cli/debian/packages.ts';
import { run } from '../../../src/linux/exec.ts';
import { DISK_MODULES, INIT, ROOT_PACKAGES, ROOT_UNITS, rootFiles } from './root-files.ts';

/** Files that qemu boots. */
export interface GuestImage {
  kernel: string;
  initialRamDisk: string;
  /** An ext4 file system; a guest writes beside it, never into it. */
  root: string;
}

const KERNEL_PACKAGE = 'linux-image-cloud-amd64';
const SUITE = 'bookworm';
const BUILD_TIMEOUT_MS = 600_000;

/** The image in the cache directory of this user. `missing` says what a host lacks to have one. */
export async function findGuestImage(options: { build: boolean }): Promise<GuestImage | { missing: string }> {
  const folder = imageFolder();
  if (!existsSync(folder)) {
    if (!options.build) return { missing: `no guest image in ${folder}: 'berth test --full' makes it` };
    const lacking = ['debootstrap', 'mke2fs'].filter(
      (name) => !existsSync(`/usr/sbin/${name}`) && !existsSync(`/sbin/${name}`),
    );
    if (lacking.length > 0) return { missing: `no guest image can be made: ${lacking.join(', ')} is not installed` };
    await buildGuestImage(folder);
  }
  return { kernel: join(folder, 'vmlinuz'), initialRamDisk: join(folder, 'initrd'), root: join(folder, 'root.ext4') };
}

/** Another recipe is another folder. */
function imageFolder(): string {
  const recipe = JSON.stringify([SUITE, KERNEL_PACKAGE, ROOT_PACKAGES, DISK_MODULES, INIT, rootFiles]);
  const fingerprint = createHash('sha256').update(recipe).digest('hex').slice(0, 12);
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'berth', `guest-${fingerprint}`);
}

/** Debian by debootstrap with a kernel of its own, as files for qemu; some two minutes. The host stays as it is. */
async function buildGuestImage(folder: string): Promise<void> {
  mkdirSync(dirname(folder), { recursive: true });
  const work = mkdtempSync(`${folder}.partial-`);
  const root = join(work, 'tree');
  try {
    // In a mount namespace of its own: what debootstrap mounts in the tree must never be there when the tree is removed.
    await run(
      'nice',
      [
        '-n',
        '10',
        'unshare',
        '--mount',
        'debootstrap',
        '--variant=minbase',
        `--include=${ROOT_PACKAGES.join(',')}`,
        SUITE,
        root,
      ],
      {
        timeoutMs: BUILD_TIMEOUT_MS,
      },
    );
    await addKernel(work, root);
    for (const [path, text] of Object.entries(rootFiles)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      rmSync(join(root, path), { force: true });
      writeFileSync(join(root, path), text, { mode: path.includes('sbin/') ? 0o755 : 0o644 });
    }
    await run('chroot', [root, 'systemctl', 'enable', ...ROOT_UNITS]);
    await run('chroot', [root, 'systemctl', 'mask', 'apt-daily.timer', 'apt-daily-upgrade.timer']);
    rmSync(join(root, 'var/cache/apt/archives'), { recursive: true, force: true });
    await run('mke2fs', ['-q', '-t', 'ext4', '-d', root, join(work, 'root.ext4'), '4G'], {
      timeoutMs: BUILD_TIMEOUT_MS,
    });
    rmSync(root, { recursive: true, force: true });
    renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function addKernel(work: string, root: string): Promise<void> {
  const { stdout } = await run('apt-cache', ['depends', KERNEL_PACKAGE]);
  const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (!name) throw new Error(`apt knows no ${KERNEL_PACKAGE}`);
  const unpacked = join(work, 'kernel');
  await unpackPackages([name], unpacked);
  const version = name.replace('linux-image-', '');
  renameSync(join(unpacked, 'boot', `vmlinuz-${version}`), join(work, 'vmlinuz'));
  const modules = join(root, 'lib/modules', version);
  mkdirSync(dirname(modules), { recursive: true });
  renameSync(join(unpacked, 'lib/modules', version), modules);
  await run('depmod', ['-b', root, version], { timeoutMs: 60_000 });
  rmSync(unpacked, { recursive: true, force: true });

  const initial = join(root, 'initial');
  for (const sub of ['bin', 'dev', 'root', 'modules']) mkdirSync(join(initial, sub), { recursive: true });
  copyFileSync(join(root, 'bin/busybox'), join(initial, 'bin/busybox'));
  for (const module of DISK_MODULES)
    copyFileSync(join(modules, 'kernel', module), join(initial, 'modules', basename(module)));
  writeFileSync(join(initial, 'init'), INIT);
  chmodSync(join(initial, 'init'), 0o755);
  await run('chroot', [root, 'sh', '-c', 'cd /initial && find . | busybox cpio -o -H newc >/initrd']);
  renameSync(join(root, 'initrd'), join(work, 'initrd'));
  rmSync(initial, { recursive: true });
}
