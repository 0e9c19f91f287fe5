import { join } from 'node:path';
import { callPlugin, type ProgramPlugin } from '../../cni/wire/call.ts';
import { run } from '../../src/linux/exec.ts';

/** One call to a plugin, as a runtime makes it. */
export interface CniCall {
  command: string;
  type: string;
  id: string;
  /** Path of the container's namespace. */
  netns?: string;
  ifname?: string;
  /** Beside `cniVersion`, `name` and `type`. */
  conf?: object;
}

export interface CniAnswer {
  failed: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: what the plugin printed
  out: any;
}

export type CniCaller = (call: CniCall) => Promise<CniAnswer>;

function environmentOf({ command, id, netns, ifname }: CniCall, path: string) {
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: netns ?? '',
    // What is chained on the host is tried without a container too.
    CNI_NETNS_OVERRIDE: '1',
    CNI_IFNAME: ifname ?? 'eth0',
    CNI_PATH: path,
  };
}

const inputOf = ({ type, conf }: CniCall) => JSON.stringify({ cniVersion: '1.0.0', name: 'net', type, ...conf });
const parse = (stdout: string) => (stdout.trim() === '' ? undefined : JSON.parse(stdout));

/** Ours, in this process, by the protocol of programs. */
export function callOurs(programs: ReadonlyMap<string, ProgramPlugin>): CniCaller {
  return async (call) => {
    const program = programs.get(call.type)!;
    const { stdout, exitCode } = await callPlugin(program, environmentOf(call, '/none'), inputOf(call));
    return { failed: exitCode !== 0, out: parse(stdout) };
  };
}

/** Programs of a folder, run in a network namespace. */
export function callPrograms(folder: string, hostNetns: string, env: Record<string, string> = {}): CniCaller {
  return async (call) => {
    const { code, stdout, stderr } = await run(join(folder, call.type), [], {
      netns: hostNetns,
      env: { ...env, ...environmentOf(call, folder) },
      input: inputOf(call),
      timeoutMs: 20_000,
      okCodes: [0, 1],
    });
    if (code !== 0 && stdout.trim() === '') throw new Error(stderr);
    return { failed: code !== 0, out: parse(stdout) };
  };
}
