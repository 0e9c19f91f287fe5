import type { ExecutionContext } from 'ava';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';

/** A network namespace of a test: removed with all that is in it when the test ends. */
export interface TestNetns {
  name: string;
  /** For setns and for `run(…, { netns })`. */
  path: string;
  /** Runs a program in it and answers its stdout. */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<string>;
  /** `ip <args>` in it. */
  ip(...args: string[]): Promise<string>;
  /** `ip -j <args>` in it, parsed. */
  ipJson<T = Record<string, unknown>>(...args: string[]): Promise<T[]>;
}

let counter = 0;

/** Makes a namespace under a unique name, with `lo` up and forwarding off, whatever the machine's own setting (which new namespaces copy). */
export async function createTestNetns(t: Pick<ExecutionContext, 'teardown'>, label: string): Promise<TestNetns> {
  const name = `berth-${process.pid}-${++counter}-${label}`;
  const path = `/run/netns/${name}`;
  await run('ip', ['netns', 'add', name]);
  t.teardown(async () => {
    await run('ip', ['netns', 'delete', name]);
  });
  const netns: TestNetns = {
    name,
    path,
    run: async (program, args, options) => (await run(program, args, { ...options, netns: path })).stdout,
    ip: (...args) => netns.run('ip', args),
    async ipJson<T>(...args: string[]) {
      const text = await netns.run('ip', ['-j', ...args]);
      return (text.trim() ? JSON.parse(text) : []) as T[];
    },
  };
  await netns.ip('link', 'set', 'lo', 'up');
  writeSysctl('net.ipv4.ip_forward', '0', { netns: path });
  return netns;
}
