/**
 * Checksums that nobody makes: the sender leaves the inner one to the hardware, which knows nothing of VXLAN or gets it wrong, and the receiver
 * drops the packet. Pings pass, DNS does not, TCP sometimes after 63 seconds. The way out is to make inner checksums in software
 * (`ethtool -K flannel.1 tx-checksum-ip-generic off`), which costs throughput, so it is done where it is needed:
 *
 *   - on kernels before 5.7, which break the outer checksum when such a packet is masqueraded;
 *   - where peers' kernels show that checksums arrive wrong (`probeChecksums`).
 */
import { release } from 'node:os';
import { readTxChecksumOffload, setTxChecksumOffload } from '../../../src/linux/checksum-offload.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { probeChecksums } from './checksum-probe.ts';

export interface ChecksumGuard {
  /** Sets a device as it is to be, as far as that is known. Idempotent; for one that was made anew too. */
  apply(link: string): void;
  /** Asks peers, those that come later too, until enough have answered. Ends then, or with the signal. */
  run(signal: AbortSignal): Promise<void>;
}

/** Whom to ask: by the device of IPv4, from our address on it, at the peers'. */
interface ChecksumTargets {
  link: string;
  from: string;
  to: readonly string[];
}

interface ChecksumGuardDeps {
  log: Logger;
  clock: Clock;
  hostNetns?: string;
  /** undefined as long as there is no device. */
  targets(): ChecksumTargets | undefined;
  /** All devices, of IPv6 too: they go the same way. */
  links(): readonly string[];
  /** Default: this machine's. */
  kernelRelease?: string;
}

/** Peers on the same machine are reached without any hardware: one of them proves little. */
const ENOUGH_PEERS = 3;
const FIRST_MS = 2_000;
const LAST_MS = 300_000;

export function createChecksumGuard(mode: 'auto' | 'on' | 'off', deps: ChecksumGuardDeps): ChecksumGuard {
  const { log, clock, hostNetns } = deps;
  const isOldKernel = mode === 'auto' && isBroken(deps.kernelRelease ?? release());
  let isOff = mode === 'off' || isOldKernel;

  function apply(link: string): void {
    const has = readTxChecksumOffload(link, hostNetns);
    // In `auto` one that is off already was found wanting by an earlier process, or by its administrator.
    if (has === undefined || has === !isOff || (mode === 'auto' && !has)) return;
    setTxChecksumOffload(link, !isOff, hostNetns);
    log.warn(
      { link, kernel: deps.kernelRelease ?? release() },
      isOldKernel
        ? 'this kernel breaks checksums of VXLAN packets that are masqueraded: checksum offload of the device is off'
        : `checksum offload of the VXLAN device is ${isOff ? 'off' : 'on'}`,
    );
  }

  async function ask({ link, from }: ChecksumTargets, to: string): Promise<'sound' | 'broken' | 'unknown'> {
    const found = await probeChecksums(from, to, deps);
    if (found !== 'broken') return found;
    isOff = true;
    for (const one of deps.links()) apply(one);
    const isMended = (await probeChecksums(from, to, deps)) === 'sound';
    log.warn(
      { link, peer: to, isMended },
      'packets over VXLAN arrive with wrong checksums: they are made in software from now on (tx-checksum-ip-generic off)',
    );
    return found;
  }

  return {
    apply,
    async run(signal) {
      const sound = new Set<string>();
      const silent = new Set<string>();
      let delayMs = FIRST_MS;
      while (mode === 'auto' && !isOff && sound.size < ENOUGH_PEERS) {
        await clock.sleep(delayMs, signal).catch(() => {});
        if (signal.aborted) return;
        const targets = deps.targets();
        const open = targets?.to.filter((one) => !sound.has(one)) ?? [];
        // Each has its turn before one that did not answer is asked again; those that come later are asked soon.
        if (open.every((one) => silent.has(one))) silent.clear();
        const to = open.find((one) => !silent.has(one));
        if (!targets || to === undefined) {
          delayMs = FIRST_MS;
          continue;
        }
        try {
          if (readTxChecksumOffload(targets.link, hostNetns) === false) return;
          const found = await ask(targets, to);
          (found === 'sound' ? sound : silent).add(to);
          delayMs = found === 'sound' ? FIRST_MS : Math.min(delayMs * 2, LAST_MS);
        } catch (error) {
          // The device may be gone for a moment.
          log.debug({ err: error }, 'checksums over VXLAN could not be tried');
        }
      }
    },
  };
}

/** Linux 5.7 leaves an absent UDP checksum alone when it translates addresses. Pure. */
export function isBroken(kernelRelease: string): boolean {
  const [major = 0, minor = 0] = kernelRelease.split('.').map((part) => Number.parseInt(part, 10));
  return major < 5 || (major === 5 && minor < 7);
}
