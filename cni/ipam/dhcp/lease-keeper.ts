import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { Client, DhcpClient, Grant } from './client.ts';
import { type LeaseTerms, termsOf } from './options.ts';

/** Why a lease is kept no longer. */
export type LeaseEnd =
  /** Nobody renewed it in time, or the server gave the address away. */
  | 'lost'
  /** The link or its namespace is gone: the container is. */
  | 'gone';

export interface KeeperDependencies {
  client: DhcpClient;
  clock: Clock;
  log: Logger;
  /** The client as its link is now; undefined when the link is gone. */
  find(): Promise<Client | undefined>;
  /** A new grant of the same address. */
  onRenewed(grant: Grant): void;
  timeoutMs: number;
}

/** Between questions of one phase (RFC 2131, 4.4.5, wants half of what is left; a minute where a lease is short would be too long). */
const SHORTEST_PAUSE_MS = 1000;
/** For an answer, however little of the lease is left. */
const SHORTEST_TIMEOUT_MS = 500;

/**
 * Keeps one lease until it ends or the signal aborts, which leaves it as it is (RFC 2131, 4.4.5):
 *
 *     since ──── bound ──── T1 ── renewing: its server ── T2 ── rebinding: everybody ── end
 *
 * A container's address can't change while it runs: a server that refuses it is asked for a lease of the same address anew, and only
 * when it gives another one, or none, the lease is lost.
 */
export async function keepLease(first: Grant, deps: KeeperDependencies, signal: AbortSignal): Promise<LeaseEnd> {
  const { clock, log } = deps;
  let grant = first;
  for (;;) {
    const terms = termsOf(grant.ack);
    await sleepUntil(clock, grant.sinceMs + terms.renewMs, signal);
    const next = await renewed(grant, terms, deps, signal);
    if (next === 'lost' || next === 'gone') return next;
    grant = next;
    deps.onRenewed(grant);
    log.debug({ address: grant.address, leaseSeconds: termsOf(grant.ack).leaseMs / 1000 }, 'DHCP lease renewed');
  }
}

async function renewed(
  grant: Grant,
  terms: LeaseTerms,
  deps: KeeperDependencies,
  signal: AbortSignal,
): Promise<Grant | LeaseEnd> {
  const { clock, log } = deps;
  const endMs = grant.sinceMs + terms.leaseMs;
  const rebindMs = grant.sinceMs + terms.rebindMs;
  // One that was restored late may be over by our reckoning: servers are asked once all the same.
  for (let isFirst = true; isFirst || clock.monotonicMs() < endMs; isFirst = false) {
    const nowMs = clock.monotonicMs();
    const rebinding = nowMs >= rebindMs;
    const phaseEndMs = rebinding ? endMs : rebindMs;
    // Half of what is left at most: the other half is for the next question.
    const timeoutMs = clamp((phaseEndMs - nowMs) / 2, SHORTEST_TIMEOUT_MS, deps.timeoutMs);
    const next = await ask(grant, rebinding, timeoutMs, deps, signal).catch((error) => {
      signal.throwIfAborted();
      log.warn({ err: error, address: grant.address }, 'a DHCP lease could not be renewed for now');
      return undefined;
    });
    if (next) return next;
    const leftMs = phaseEndMs - clock.monotonicMs();
    await clock.sleep(Math.min(Math.max(0, leftMs), Math.max(SHORTEST_PAUSE_MS, leftMs / 2)), signal);
  }
  return 'lost';
}

/** One question of the phase; undefined when nobody answers. */
async function ask(
  grant: Grant,
  rebinding: boolean,
  timeoutMs: number,
  deps: KeeperDependencies,
  signal: AbortSignal,
): Promise<Grant | LeaseEnd | undefined> {
  const { log } = deps;
  const found = await deps.find();
  if (!found) return 'gone';
  const answer = await deps.client.renew(found, grant, rebinding ? 'everybody' : 'server', timeoutMs, signal);
  if (answer === 'refused') {
    log.warn({ address: grant.address }, 'the DHCP server refuses to renew the lease');
    // What was refused must not be used on for long.
    return (await acquiredAgain(found, grant, deps.timeoutMs, deps, signal)) ?? 'lost';
  }
  if (answer) return answer.address === grant.address ? answer : 'lost';
  if (!rebinding) return undefined;
  log.warn({ address: grant.address }, 'no DHCP server renews the lease');
  // Servers that have forgotten a lease may be silent about it (RFC 2131, 4.3.2).
  return acquiredAgain(found, grant, timeoutMs, deps, signal);
}

/** A new lease of the same address; another address is given back at once. */
async function acquiredAgain(
  found: Client,
  grant: Grant,
  withinMs: number,
  { client, clock, log }: KeeperDependencies,
  signal: AbortSignal,
): Promise<Grant | undefined> {
  const within = AbortSignal.any([signal, deadline(clock, withinMs)]);
  const fresh = await client.acquire(found, grant.address, within).catch((error) => {
    signal.throwIfAborted();
    log.warn({ err: error, address: grant.address }, 'no new lease of the same address');
    return undefined;
  });
  if (!fresh || fresh.address === grant.address) return fresh;
  log.warn({ address: grant.address, offered: fresh.address }, 'the DHCP server gives another address instead');
  client.release(found, fresh);
  return undefined;
}

const clamp = (value: number, least: number, most: number) => Math.min(most, Math.max(least, value));

function deadline(clock: Clock, ms: number): AbortSignal {
  const controller = new AbortController();
  clock.after(Math.max(0, ms), () => controller.abort(new Error(`no answer within ${Math.round(ms)} ms`)));
  return controller.signal;
}

/** Timers end before long leases do. */
const LONGEST_SLEEP_MS = 24 * 3600 * 1000;

async function sleepUntil(clock: Clock, atMs: number, signal: AbortSignal): Promise<void> {
  for (let leftMs = atMs - clock.monotonicMs(); leftMs > 0; leftMs = atMs - clock.monotonicMs())
    await clock.sleep(Math.min(leftMs, LONGEST_SLEEP_MS), signal);
}
