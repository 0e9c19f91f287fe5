import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { ProxySnapshot, ServicePort } from '../state/model.ts';
import { type Balancer, createBalancer } from './balancer.ts';
import { computeRelays, type RelayKind, type RelayPorts } from './portals.ts';
import { type Relay, startTcpRelay } from './tcp-relay.ts';
import { startUdpRelay } from './udp-relay.ts';

export interface RelaysOptions {
  netns?: string;
  udpIdleMs: number;
  clock: Clock;
  log: Logger;
}

/** All relays of one IP family. */
export interface Relays {
  /**
   * Starts relays that are missing and tells the others of their endpoints. Those that nobody needs any more still take clients, until
   * `retire`: portals lead to them.
   */
  ensure(snapshot: ProxySnapshot, node: NodeRenderOptions['node'], address: string): Promise<void>;
  retire(): void;
  readonly port: RelayPorts;
  ports(): { protocol: 'tcp' | 'udp'; port: number }[];
  endAll(): void;
}

interface Running {
  address: string;
  protocol: 'tcp' | 'udp';
  relay: Relay;
  balancer: Balancer;
}

const keyOf = (port: ServicePort, kind: RelayKind) => `${port.displayName}/${port.protocol}/${kind}`;

export function createRelays({ netns, udpIdleMs, clock, log }: RelaysOptions): Relays {
  const running = new Map<string, Running>();
  const replaced: Relay[] = [];
  /** Closed to new clients; those that they have live on. */
  const leaving = new Set<Relay>();
  let wanted = new Set<string>();
  let isEnded = false;

  async function start(port: ServicePort, address: string): Promise<Running> {
    const balancer = createBalancer(clock);
    const options = { netns, address, service: port.displayName, balancer, clock, log };
    const isUdp = port.protocol === 'UDP';
    const relay = isUdp ? await startUdpRelay({ ...options, idleMs: udpIdleMs }) : await startTcpRelay(options);
    return { address, protocol: isUdp ? 'udp' : 'tcp', relay, balancer };
  }

  function endAll(): void {
    isEnded = true;
    for (const relay of [...leaving, ...replaced.splice(0), ...[...running.values()].map((one) => one.relay)]) {
      relay.close();
      relay.endAll();
    }
    running.clear();
    leaving.clear();
  }

  function leave(relay: Relay): void {
    relay.close();
    leaving.add(relay);
  }

  return {
    async ensure(snapshot, node, address) {
      wanted = new Set();
      for (const { ports } of snapshot.services.values())
        for (const state of ports) {
          const { port } = state;
          if (port.protocol === 'SCTP') continue;
          for (const [kind, targets] of computeRelays(state, node)) {
            const key = keyOf(port, kind);
            wanted.add(key);
            let one = running.get(key);
            if (one?.address !== address) {
              if (one) replaced.push(one.relay);
              one = await start(port, address);
              running.set(key, one);
              // Ended while this one was opened: nobody would close it any more, and an open socket keeps the process alive.
              if (isEnded) return endAll();
            }
            one.balancer.set(targets, port.affinitySeconds);
            one.relay.endpointsChanged();
          }
        }
    },
    retire() {
      for (const relay of leaving) if (relay.isIdle()) leaving.delete(relay);
      for (const relay of replaced.splice(0)) leave(relay);
      for (const [key, { relay }] of running) {
        if (wanted.has(key)) continue;
        leave(relay);
        running.delete(key);
      }
    },
    port: (port, kind) => (wanted.has(keyOf(port, kind)) ? running.get(keyOf(port, kind))?.relay.port : undefined),
    ports: () => [...running.values()].map(({ protocol, relay }) => ({ protocol, port: relay.port })),
    endAll,
  };
}
