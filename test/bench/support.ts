import { dirname, join } from 'node:path';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import { createSwitch } from '../../cli/hosts/switch.ts';

export const CHECKOUT = dirname(dirname(import.meta.dirname));

/** Middle, and the ends, of a sample; milliseconds or any unit. */
export function summarize(sample: number[]): { min: number; p50: number; p90: number; max: number } {
  const sorted = [...sample].sort((one, other) => one - other);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { min: at(0), p50: at(0.5), p90: at(0.9), max: at(1) };
}

export function line(name: string, sample: number[], unit = 'ms'): string {
  const { min, p50, p90, max } = summarize(sample);
  return `${name.padEnd(44)} p50 ${p50.toFixed(1)} ${unit}   (min ${min.toFixed(1)}, p90 ${p90.toFixed(1)}, max ${max.toFixed(1)}, n=${sample.length})`;
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
