import type { KubeClient } from '../../src/kube/client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../src/kube/errors.ts';
import type { Resource } from '../../src/kube/resources.ts';
import type { Draft, EndpointSlice, KubeObject } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { semanticEqual } from './equality.ts';

/** Objects that the cluster itself owns (sheet §11) are looked after this often. */
const RESYNC_MS = 10_000;
const RETRY_MS = 1_000;

/** Needs an administrator's rights. */
export type OwnerClient = Pick<KubeClient, 'get' | 'create' | 'replace'>;

/** Creates the object when it is missing; else `mend` changes what differs in place and says whether anything did. Idempotent. */
export async function ensureObject<T extends KubeObject>(
  client: OwnerClient,
  resource: Resource<T>,
  draft: Draft<T>,
  mend: (object: T) => boolean,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { name, namespace } = draft.metadata;
  try {
    const object = await client.get(resource, { name: name!, namespace, signal }).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    if (!object) await client.create(resource, draft, { namespace, signal });
    else {
      const copy = structuredClone(object);
      if (mend(copy)) await client.replace(resource, copy, { signal });
    }
  } catch (error) {
    // Another one of us may have been faster: the next round sees its work.
    if (!isAlreadyExists(error) && !isConflict(error)) throw error;
  }
}

/** Calls `ensure` every ten seconds until aborted; failures are logged and tried again. */
export async function keepEnsured(
  ensure: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
  { clock, log, problem }: { clock: Clock; log: Logger; problem: string },
): Promise<void> {
  while (!signal.aborted) {
    let pauseMs = RESYNC_MS;
    try {
      await ensure(signal);
    } catch (error) {
      if (signal.aborted) return;
      pauseMs = RETRY_MS;
      log.warn({ err: error }, problem);
    }
    await clock.sleep(pauseMs, signal).catch(() => {});
  }
}

/** Makes endpoints and ports those of `wanted`; true when they were others. */
export function mendSlice(slice: EndpointSlice, wanted: Draft<EndpointSlice>): boolean {
  if (semanticEqual([slice.endpoints, slice.ports], [wanted.endpoints, wanted.ports])) return false;
  slice.endpoints = wanted.endpoints;
  slice.ports = wanted.ports;
  return true;
}
