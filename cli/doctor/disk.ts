import { statfs } from 'node:fs/promises';
import type { Finding } from './finding.ts';

export interface DiskFacts {
  path: string;
  capacityBytes: number;
  availableBytes: number;
}

const GIB = 2 ** 30;

/** A disk by the thresholds that hold unless a node is told others. Pure. */
export function judgeDisk(
  check: string,
  { path, capacityBytes, availableBytes }: DiskFacts,
  /** `imageGCHighThresholdPercent`, where images are. */
  collectAtPercent: number | undefined,
  /** Of `evictionHard`. */
  evictBelowPercent: number,
): Finding {
  const availablePercent = Math.floor((availableBytes * 100) / capacityBytes);
  const detail = `${path}: ${availablePercent} % of ${(capacityBytes / GIB).toFixed(1)} GiB are free`;
  const remedy = `make room, or say otherwise in a KubeletConfiguration (evictionHard${collectAtPercent ? ', imageGCHighThresholdPercent' : ''})`;
  if (availableBytes * 100 < evictBelowPercent * capacityBytes)
    return {
      check,
      state: 'problem',
      detail: `${detail}: below ${evictBelowPercent} % a node takes no pods and evicts some`,
      remedy,
    };
  if (collectAtPercent !== undefined && 100 - availablePercent >= collectAtPercent)
    return {
      check,
      state: 'warning',
      detail: `${detail}: from ${collectAtPercent} % in use on, unused images are removed`,
      remedy,
    };
  return { check, state: 'ok', detail };
}

/** undefined: there is none on this machine. */
export async function readDisk(path: string): Promise<DiskFacts | undefined> {
  try {
    const { bsize, blocks, bavail } = await statfs(path);
    return { path, capacityBytes: bsize * blocks, availableBytes: bsize * bavail };
  } catch {
    return undefined;
  }
}
