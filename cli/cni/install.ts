import { chmodSync, existsSync, mkdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { removeIdleBridges } from '../../cni/node/idle-bridges.ts';
import { ownPlugins } from '../../cni/programs/all.ts';
import { isOwnLauncher, LAUNCHER_MARK } from '../../cni/wire/own-launcher.ts';
import { run } from '../../src/linux/exec.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { CHECKOUT } from '../daemon/launch.ts';
import { UserError } from '../output/failure.ts';
import { createSteps } from '../output/steps.ts';
import { checkRoot } from '../preflight/checks.ts';

const DEFAULT_BIN_DIR = '/opt/cni/bin';

const types = () => [...ownPlugins({ run, sleep: async () => {} }).keys()];

/** `berth cni install`: our plugins where container runtimes look for them. Files of others stay unless `force`. */
export async function installPlugins(options: { binDir: string; force?: boolean }): Promise<void> {
  checkRoot('cni install');
  const wanted = types().map((type) => ({ type, file: join(options.binDir, type) }));
  const foreign = wanted.filter(({ file }) => existsSync(file) && !isOwnLauncher(file)).map(({ file }) => file);
  if (foreign.length > 0 && !options.force)
    throw new UserError(
      `these plugins are somebody else's: ${foreign.join(', ')}; --force replaces them, --bin-dir puts ours elsewhere`,
    );
  const steps = createSteps();
  await steps.run('program of the plugins', async () => {
    await run(process.execPath, [join(CHECKOUT, 'cli/bundle/build.ts')], { timeoutMs: 120_000 });
  });
  mkdirSync(options.binDir, { recursive: true, mode: 0o755 });
  for (const { type, file } of wanted) {
    writeFileSync(`${file}.new`, renderLauncher(type), { mode: 0o755 });
    chmodSync(`${file}.new`, 0o755);
    renameSync(`${file}.new`, file);
  }
  await steps.run('a first call of each', () => callEach(wanted.map(({ file }) => file)));
  steps.say(`${wanted.map(({ type }) => type).join(', ')} are in ${options.binDir}.`);
}

/** Shows that each starts, and leaves its compiled code behind for the first pod's. */
async function callEach(files: readonly string[]): Promise<void> {
  for (const file of files) await run(file, [], { env: { CNI_COMMAND: 'VERSION' }, input: '', timeoutMs: 30_000 });
}

/** `berth cni uninstall`: takes away what `install` made, and bridges of ours that have no port any more; nothing else. */
export async function uninstallPlugins(options: { binDir: string }): Promise<void> {
  checkRoot('cni uninstall');
  const own = types()
    .map((type) => join(options.binDir, type))
    .filter((file) => existsSync(file) && isOwnLauncher(file));
  for (const file of own) rmSync(file);
  if (own.length > 0) removeEmptyFolders(options.binDir);
  const netlink = openRtnetlink();
  try {
    const bridges = await removeIdleBridges(netlink);
    if (bridges.length > 0) createSteps().say(`Bridges without pods removed: ${bridges.join(', ')}.`);
  } finally {
    netlink.close();
  }
}

/** The folder of plugins and, where it is its usual place, the one around it: `install` makes them on a host without any. */
function removeEmptyFolders(binDir: string): void {
  for (const folder of [binDir, ...(binDir === DEFAULT_BIN_DIR ? [dirname(binDir)] : [])])
    try {
      rmdirSync(folder);
    } catch (error) {
      if (!['ENOTEMPTY', 'EBUSY', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      return;
    }
}

/** What `berth cni install` writes for a plugin. */
export function renderLauncher(type: string): string {
  const node = join(CHECKOUT, '.toolchain/bin/node');
  const program = join(CHECKOUT, `.toolchain/bundle/cni/${type}.cjs`);
  const daemon = type === 'dhcp' ? daemonLine(node) : '';
  // A call lives for some hundredths of a second, of which reading the program takes a tenth.
  const cache = `NODE_COMPILE_CACHE='${join(CHECKOUT, '.toolchain/compile-cache')}'`;
  // Flags that a runtime was started with are not for its plugins.
  return `#!/bin/sh\n${LAUNCHER_MARK}\n${daemon}NODE_OPTIONS= ${cache} exec '${node}' ${NODE_FLAGS} '${program}'\n`;
}

/**
 * Of a call's time most is Node.js' start, and what is left is code that runs once:
 *
 * - V8 makes new hashes of all names in Node's snapshot, against attackers who choose the keys of objects; here they are the runtime's.
 * - Functions are compiled together, so that the compile cache has them all; by default it has none that was not needed at once.
 * - Nothing runs often enough to be worth a compiler, or threads for one.
 */
const NODE_FLAGS = '--no-rehash-snapshot --no-lazy --no-sparkplug --no-maglev --no-opt --single-threaded';

/** `dhcp daemon FLAGS` is another program: what it needs would slow down each call of a plugin. */
function daemonLine(node: string): string {
  const program = join(CHECKOUT, '.toolchain/bundle/berth-dhcp.mjs');
  return `if [ "$1" = daemon ]; then shift; exec '${node}' '${program}' "$@"; fi\n`;
}
