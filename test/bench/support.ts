import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import { createSwitch } from '../../cli/hosts/switch.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { pods } from '../../src/kube/resources.ts';
import type { Pod } from '../../src/kube/types.ts';

export const CHECKOUT = dirname(dirname(import.meta.dirname));

/** Of the demo: `berth demo` has the Engine load it. */
export const IMAGE = 'berth/busybox:1';
/** Sleeps, and ends at once when it is told to. */
export const PATIENT = ['sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'];

/** Middle, and the ends, of a sample; milliseconds or any unit. */
export function summarize(sample: number[]): { min: number; p50: number; p90: number; p99: number; max: number } {
  const sorted = [...sample].sort((one, other) => one - other);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { min: at(0), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

export function line(name: string, sample: number[], unit = 'ms'): string {
  const { min, p50, p90, p99, max } = summarize(sample);
  const tail = sample.length >= 100 ? `, p99 ${p99.toFixed(1)}` : '';
  return `${name.padEnd(44)} p50 ${p50.toFixed(1)} ${unit}   (min ${min.toFixed(1)}, p90 ${p90.toFixed(1)}${tail}, max ${max.toFixed(1)}, n=${sample.length})`;
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A host on a switch without uplink, closed at the end whatever happens. */
export async function withHost<T>(name: string, work: (host: Host) => Promise<T>): Promise<T> {
  const net = await createSwitch();
  const host = await createHost(name);
  try {
    await net.plug(host);
    return await work(host);
  } finally {
    await host.close();
    await net.close();
  }
}

/** Runs `./berth …` in the host and throws with its output when it fails. */
export async function berth(host: Host, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.run([join(CHECKOUT, 'berth'), ...args], { timeoutMs: 300_000 });
  if (code !== 0) throw new Error(`berth ${args.join(' ')} exited ${code}:\n${stdout}${stderr}`);
  return stdout;
}

/** Runs this very file again inside the host, with `inside` as its argument, and passes its output through. */
export async function continueInside(host: Host, file: string, ...args: string[]): Promise<void> {
  const child = host.spawn([process.execPath, file, 'inside', ...args], { stdio: 'inherit', cwd: CHECKOUT });
  const code = await new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? 1)));
  if (code !== 0) throw new Error(`${file} inside the host exited ${code}`);
}

export function isReady(pod: Pod): boolean {
  return (
    pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false
  );
}

/**
 * A watch of the pods in `default` that is open before it is needed.
 * `first` resolves to the moment (performance.now()) when a version of a pod came in that holds; it ends the watch.
 */
export async function watchPods(client: KubeClient, fieldSelector?: string) {
  const { metadata } = await client.list(pods, { namespace: 'default' });
  const stop = new AbortController();
  const events = client.watch(pods, {
    namespace: 'default',
    ...(fieldSelector && { fieldSelector }),
    resourceVersion: metadata.resourceVersion ?? '',
    signal: stop.signal,
  });
  return {
    async first(holds: (pod: Pod) => boolean): Promise<number> {
      for await (const event of events)
        if (event.type !== 'BOOKMARK' && holds(event.object as Pod)) {
          const atMs = performance.now();
          stop.abort();
          return atMs;
        }
      throw new Error('the watch ended');
    },
  };
}

/** Deletes these pods and waits until the Engine has no container of theirs: what still ends would cost what is measured next. */
export async function removePods(client: KubeClient, docker: DockerEngine, names: string[]): Promise<void> {
  const options = { namespace: 'default', gracePeriodSeconds: 1 };
  await Promise.all(names.map((name) => client.delete(pods, { ...options, name })));
  const left = async () => {
    const { items } = await client.list(pods, { namespace: 'default' });
    const containers = await docker.listContainers({ labels: ['io.kubernetes.pod.namespace=default'] });
    return (
      items.some(({ metadata }) => names.includes(metadata.name)) ||
      containers.some(({ labels }) => names.includes(labels['io.kubernetes.pod.name'] ?? ''))
    );
  };
  while (await left()) await sleep(50);
}

/** Resident memory of a process. */
export function rssMebibytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** User and system time, in seconds; clock ticks are 1/100 s on Linux. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Makes a cluster on a host of its own, with the demo's images, and runs `inside` of the bench there, in a process of its own. */
export async function benchInCluster(file: string, inside: () => Promise<void>): Promise<void> {
  if (process.argv[2] === 'inside') return inside();
  await withHost('bench', async (host) => {
    await berth(host, 'up', ...process.argv.slice(2));
    await berth(host, 'demo');
    await berth(host, 'demo', '--remove');
    await continueInside(host, file);
    await berth(host, 'down');
  });
}
