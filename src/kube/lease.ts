import { createBackoff } from '../runtime/backoff.ts';
import { type Clock, microTimestamp } from '../runtime/clock.ts';
import type { Logger } from '../runtime/log.ts';
import type { KubeClient } from './client.ts';
import { isAlreadyExists, isConflict, isNotFound } from './errors.ts';
import { leases } from './resources.ts';
import type { Lease, OwnerReference } from './types.ts';

export interface LeaseKeeperOptions {
  namespace: string;
  name: string;
  /** Who holds it. */
  holderIdentity: string;
  /** 40 for nodes. */
  durationSeconds: number;
  /** Share of the duration after which it is renewed; 0.25 unless said. */
  renewFraction?: number;
}

export interface LeaseKeeperDeps {
  client: KubeClient;
  clock: Clock;
  log: Logger;
  /** Owner of the Lease object, once it is known: the Node, so that the lease goes with it. */
  owner?: () => OwnerReference | undefined;
  /** Told after each renewal. */
  onRenewed?: () => void;
  random?: () => number;
}

const TRIES_PER_CYCLE = 5;
const RETRY = { initialMs: 200, maxMs: 7000, jitter: 0.5 };
const JITTER = 0.04;
/** A try that hangs on a dead connection is given up, so that another one is made while the lease still holds. */
const TRY_TIMEOUT_MS = 10_000;

/** Keeps a Lease renewed for as long as it runs: the sign of life that costs least. It is never released. */
export function createLeaseKeeper(options: LeaseKeeperOptions, deps: LeaseKeeperDeps) {
  const { client, clock, random = Math.random } = deps;
  const log = deps.log.child({ lease: `${options.namespace}/${options.name}` });
  const intervalMs = options.durationSeconds * 1000 * (options.renewFraction ?? 0.25);
  let held: Lease | undefined;

  function wanted(): Lease['spec'] {
    return {
      holderIdentity: options.holderIdentity,
      leaseDurationSeconds: options.durationSeconds,
      renewTime: microTimestamp(clock.nowMs()),
    };
  }

  async function read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await client.get(leases, { namespace: options.namespace, name: options.name, signal });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async function create(signal: AbortSignal): Promise<Lease> {
    const owner = deps.owner?.();
    const metadata = {
      name: options.name,
      namespace: options.namespace,
      ...(owner && { ownerReferences: [owner] }),
    };
    return client.create(leases, { metadata, spec: wanted() }, { namespace: options.namespace, signal });
  }

  /** One renewal. The resourceVersion is the lock: after a lost race the lease is read again. */
  async function renew(signal: AbortSignal): Promise<void> {
    held ??= await read(signal);
    try {
      if (!held) held = await create(signal);
      else {
        const owner = deps.owner?.();
        const metadata =
          owner && !held.metadata.ownerReferences?.length
            ? { ...held.metadata, ownerReferences: [owner] }
            : held.metadata;
        held = await client.replace(leases, { ...held, metadata, spec: { ...held.spec, ...wanted() } }, { signal });
      }
    } catch (error) {
      if (isConflict(error) || isNotFound(error) || isAlreadyExists(error)) held = undefined;
      throw error;
    }
  }

  async function renewInTime(signal: AbortSignal): Promise<void> {
    const limit = new AbortController();
    const timeout = new Error(`no answer within ${TRY_TIMEOUT_MS / 1000} s`);
    const cancel = clock.after(TRY_TIMEOUT_MS, () => limit.abort(timeout));
    try {
      await renew(AbortSignal.any([signal, limit.signal]));
    } finally {
      cancel();
    }
  }

  async function cycle(signal: AbortSignal): Promise<void> {
    const backoff = createBackoff(RETRY, random);
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        await renewInTime(signal);
        deps.onRenewed?.();
        return;
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ err: error, tries }, 'the lease could not be renewed');
        if (tries >= TRIES_PER_CYCLE) return;
        await clock.sleep(backoff.nextMs(), signal);
      }
    }
  }

  return {
    /** Renews at once, then until the signal aborts. */
    async run(signal: AbortSignal): Promise<void> {
      try {
        while (!signal.aborted) {
          await cycle(signal);
          await clock.sleep(intervalMs * (1 + JITTER * random()), signal);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
  };
}
