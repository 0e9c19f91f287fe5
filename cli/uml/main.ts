/**
 * Runs a command in a user-mode-linux guest, which has cgroup v2 (without cpuset, hugetlb and PSI) and Debian's modules, and
 * ends with its exit code: `node cli/uml/main.ts PROGRAM ARGS…`. The guest sees this machine's files as they are here; what it
 * writes is gone with it. It has no network card. To be started inside a host, which ends whatever the guest leaves.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { findUmlKernel } from './kernel.ts';

const CHECKOUT = dirname(dirname(import.meta.dirname));
const MEMORY_MIB = 1536;
/** `/dev/ubda`: an empty disk, for what wants to be a block device (swap). */
const DISK_BYTES = 256 * 2 ** 20;
const PASSED_ENVIRONMENT = [
  'PATH',
  'BERTH_TEST_FULL',
  'BERTH_KUBE_ASSETS',
  'XDG_CACHE_HOME',
  'HOME',
  'NO_COLOR',
  'TERM',
];
const KERNEL_LOG_LIMIT_CHARS = 16_384;
/** Told apart by who asks: the kernel does not boot here. */
const NO_BOOT_EXIT_CODE = 77;

async function runInGuest(argv: readonly string[]): Promise<number> {
  const kernel = findUmlKernel(CHECKOUT);
  if (!kernel) throw new Error('no user-mode-linux kernel in the checkout: `berth test uml` fetches it');
  const work = mkdtempSync(join(tmpdir(), 'berth-uml-'));
  try {
    const command = join(work, 'command');
    const disk = join(work, 'disk');
    writeFileSync(command, renderCommand(argv));
    chmodSync(command, 0o755);
    writeFileSync(disk, '');
    truncateSync(disk, DISK_BYTES);
    const guest = spawn(
      kernel.program,
      [
        ...[`mem=${MEMORY_MIB}M`, 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', 'quiet'],
        ...[`init=${join(import.meta.dirname, 'init.sh')}`, `ubd0=${disk}`, `uml_dir=${work}`],
        // The kernel's console is stderr; the command's own is stdout.
        ...['con=null', 'con0=null,fd:2', 'con1=null,fd:1'],
        ...[`UML_COMMAND=${command}`, `UML_MODULES=${kernel.modules}`, `UML_CHECKOUT=${CHECKOUT}`],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'], TMPDIR: '/dev/shm', HOME: work } },
    );
    let code: number | undefined;
    let hasBooted = false;
    createInterface({ input: guest.stdout }).on('line', (line) => {
      if (line.trimEnd() === 'uml-booted') {
        hasBooted = true;
        return;
      }
      const end = /^uml-exit (\d+)$/.exec(line.trimEnd());
      if (end) code = Number(end[1]);
      else process.stdout.write(`${line}\n`);
    });
    let kernelLog = '';
    guest.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      kernelLog = (kernelLog + chunk).slice(-KERNEL_LOG_LIMIT_CHARS);
    });
    process.on('SIGTERM', () => guest.kill('SIGKILL'));
    await once(guest, 'close');
    if (!hasBooted) {
      process.stderr.write(`user-mode-linux does not boot here:\n${kernelLog}\n`);
      return NO_BOOT_EXIT_CODE;
    }
    if (code === undefined) throw new Error(`the guest ended before its command did:\n${kernelLog}`);
    return code;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function renderCommand(argv: readonly string[]): string {
  const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;
  const environment = PASSED_ENVIRONMENT.flatMap((name) =>
    process.env[name] === undefined ? [] : [`export ${name}=${quote(process.env[name])}`],
  );
  return [...environment, `cd ${quote(process.cwd())}`, `exec ${argv.map(quote).join(' ')}`, ''].join('\n');
}

process.exitCode = await runInGuest(process.argv.slice(2));
