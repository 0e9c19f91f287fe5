import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { renderLauncher } from '../../cli/cni/install.ts';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../cli/testing/debian-program.ts';
import { ownPlugins } from '../../cni/programs/all.ts';
import type { PluginDependencies } from '../../cni/programs/dependencies.ts';
import { callPlugin } from '../../cni/wire/call.ts';
import { LAUNCHER_MARK } from '../../cni/wire/own-launcher.ts';
import { run } from '../../src/linux/exec.ts';
import type { TestNetns } from './netns.ts';

/** A call of a plugin that is a program, as a runtime makes it. */
export interface CniCall {
  command: string;
  conf?: object;
  id?: string;
  pod?: TestNetns;
  /** In place of the pod's. */
  netns?: string;
  ifname?: string;
  args?: string;
}

export interface CniOutcome {
  status: number | null;
  // biome-ignore lint/suspicious/noExplicitAny: what the program printed
  out: any;
}

/** Our plugins as programs in a folder of the test's, and the folder of Debian's; undefined where that could not be had. */
export function pluginFolders(): { ours: string; reference: string | undefined; remove(): void } {
  const ours = mkdtempSync(join(tmpdir(), 'berth-cni-'));
  for (const type of ownPlugins({ run, sleep: async () => {} }).keys())
    writeFileSync(join(ours, type), renderLauncher(type).replace(LAUNCHER_MARK, '#'), { mode: 0o755 });
  return {
    ours,
    reference: hasReference ? referenceFolder : undefined,
    remove: () => rmSync(ours, { recursive: true, force: true }),
  };
}

/** Ours are called in this process, for a host that is another namespace, as the agent does; Debian's as programs in it. */
export type PluginSet = 'ours' | 'reference';

const referenceFolder = debianProgramPath(CHECKOUT, cniPlugins);
export const hasReference = existsSync(referenceFolder);

/** Calls plugins of a set, for a host; `from` is another set for one call. */
export function createSetCaller(
  t: ExecutionContext,
  host: TestNetns,
  set: PluginSet,
  more: Partial<PluginDependencies> = {},
) {
  const own = ownPlugins({ run, sleep: (ms) => sleep(ms), hostNetns: host.path, ...more });
  const callReference = createCniCaller(t, host, referenceFolder);
  return async (type: string, what: CniCall, from = set): Promise<CniOutcome> => {
    if (from === 'reference') return callReference(type, what);
    // Address managers of others found there would be called in place of ours.
    const env = { ...environmentOf(what), CNI_PATH: '/nowhere' };
    const { stdout, exitCode } = await callPlugin(own.get(type)!, env, configurationOf(type, what));
    return { status: exitCode, out: stdout.trim() === '' ? undefined : JSON.parse(stdout) };
  };
}

/** Calls plugins of the folder `path` in the namespace of a host. */
export function createCniCaller(t: ExecutionContext, host: TestNetns, path: string) {
  return (type: string, what: CniCall, from = path): CniOutcome => {
    const env = { ...environmentOf(what), PATH: process.env['PATH'], CNI_PATH: from };
    const argv = ['nsenter', `--net=${host.path}`, join(from, type)];
    const { status, stdout, stderr } = spawnSync(argv[0]!, argv.slice(1), {
      env,
      input: configurationOf(type, what),
      encoding: 'utf8',
      timeout: 20_000,
    });
    t.true(status === 0 || stdout !== '', stderr);
    return { status, out: stdout.trim() === '' ? undefined : JSON.parse(stdout) };
  };
}

function environmentOf({ command, id, netns, pod, ifname, args }: CniCall) {
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id ?? '',
    CNI_NETNS: netns ?? pod?.path ?? '',
    CNI_IFNAME: ifname ?? (id ? 'eth0' : ''),
    CNI_ARGS: args ?? '',
  };
}

const configurationOf = (type: string, { conf }: CniCall) =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'net', type, ...conf });
