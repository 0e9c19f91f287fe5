import type { Clock } from '../../src/runtime/clock.ts';

export interface Target {
  readonly ip: string;
  readonly port: number;
  /** `ip:port`. */
  readonly address: string;
}

/** Picks an endpoint for each new connection: round robin; with affinity the one that the client had last. */
export interface Balancer {
  /** Clients of endpoints that are gone start anew. */
  set(targets: readonly Target[], affinitySeconds: number | undefined): void;
  /** @param refused addresses that did not answer this client just now. Undefined when nobody is left. */
  pick(clientIp: string, refused?: ReadonlySet<string>): Target | undefined;
  has(address: string): boolean;
}

/** Remembered clients; beyond it those forgotten first are the ones silent for longest. */
const MAX_CLIENTS = 65_536;

export function createBalancer(clock: Clock): Balancer {
  let targets: readonly Target[] = [];
  let affinityMs = 0;
  let next = 0;
  /** By client, the one seen last at the end. */
  const clients = new Map<string, { target: Target; lastMs: number }>();

  function remember(clientIp: string, target: Target): void {
    clients.delete(clientIp);
    clients.set(clientIp, { target, lastMs: clock.monotonicMs() });
    if (clients.size > MAX_CLIENTS) clients.delete(clients.keys().next().value!);
  }

  return {
    set(wanted, affinitySeconds) {
      targets = wanted;
      affinityMs = (affinitySeconds ?? 0) * 1000;
      const addresses = new Set(wanted.map(({ address }) => address));
      for (const [client, { target }] of clients)
        if (affinityMs === 0 || !addresses.has(target.address)) clients.delete(client);
    },
    pick(clientIp, refused) {
      const known = clients.get(clientIp);
      if (known && !refused?.has(known.target.address) && clock.monotonicMs() - known.lastMs < affinityMs) {
        remember(clientIp, known.target);
        return known.target;
      }
      for (let tried = 0; tried < targets.length; tried++) {
        const target = targets[next++ % targets.length]!;
        if (refused?.has(target.address)) continue;
        if (affinityMs > 0) remember(clientIp, target);
        return target;
      }
      return undefined;
    },
    has: (address) => targets.some((target) => target.address === address),
  };
}
