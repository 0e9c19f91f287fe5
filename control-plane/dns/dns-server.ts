import type { KubeClient } from '../../src/kube/client.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { runTogether } from '../../src/runtime/run-together.ts';
import { createClients } from './clients.ts';
import { createHandler } from './handler.ts';
import { listenHttp } from './http-endpoints.ts';
import { createDnsMetrics } from './metrics.ts';
import { createResolver } from './resolver.ts';
import { listenTcp } from './tcp-listener.ts';
import { type Listener, listenUdp, type UdpListener } from './udp-listener.ts';
import { CACHE_DEFAULTS } from './upstream/cache.ts';
import { createForwarder } from './upstream/forwarder.ts';
import { createHostResolvers } from './upstream/host-resolvers.ts';
import { createLoopGuard } from './upstream/loop-guard.ts';
import { createZone } from './zone.ts';
import { createZoneFeed } from './zone-feed.ts';

export interface DnsServerOptions {
  /** `cluster.local` */
  clusterDomain: string;
  bindAddress: string;
  /** UDP and TCP. */
  port: number;
  /** HTTP on the loopback interface: metrics and health. */
  metricsPort: number;
  /** Where pods find the server: the address of the Service `kube-dns`. */
  serviceAddress: string;
  /** Networks whose addresses are answered, beside this host's and the nodes'. */
  clientNetworks: readonly string[];
  /** Names the servers that are asked for everything else. */
  resolvConf: string;
}

export interface DnsServerDependencies {
  /** May list and watch services, endpointslices, namespaces and nodes. */
  client: KubeClient;
  clock: Clock;
  log: Logger;
  metrics: Registry;
  heartbeats: Heartbeats;
}

/** As kubeadm's Corefile has it. */
const TTL_SECONDS = 30;
/** Short: the name may be a Service that is just being made. */
const NEGATIVE_TTL_SECONDS = 5;
const MAX_CONCURRENT_FORWARDS = 1000;
const FORWARD_TIMEOUT_MS = 2000;
const HEARTBEAT_MS = 1000;
const MAX_SILENCE_MS = 10_000;
/** Who waits for another server's answer gets it, also from a server that ends. */
const LAST_ANSWERS_MS = 2 * FORWARD_TIMEOUT_MS;
const LAST_ANSWERS_LOOK_MS = 10;

/** The cluster's DNS server. It listens once the zone is whole, and never answers from half of one. */
export function createDnsServer(options: DnsServerOptions, dependencies: DnsServerDependencies) {
  const { client, clock, log, heartbeats } = dependencies;
  const metrics = createDnsMetrics(dependencies.metrics);
  const zone = createZone(options.clusterDomain.toLowerCase().replace(/\.$/, ''));
  const feed = createZoneFeed(
    zone,
    { domain: zone.domain, ttlSeconds: TTL_SECONDS, serverAddress: options.serviceAddress },
    { client, clock, log, programmed: metrics.programmed },
  );
  const resolver = createResolver(zone, {
    ttlSeconds: TTL_SECONDS,
    negativeTtlSeconds: NEGATIVE_TTL_SECONDS,
    startedSeconds: Math.floor(clock.nowMs() / 1000),
  });
  const hostResolvers = createHostResolvers(
    { file: options.resolvConf, ownAddresses: [options.serviceAddress] },
    { clock, log },
  );
  const forwarder = createForwarder(
    { maxConcurrent: MAX_CONCURRENT_FORWARDS, timeoutMs: FORWARD_TIMEOUT_MS, cache: CACHE_DEFAULTS },
    { servers: hostResolvers.servers, observer: metrics.forwarding, clock, log },
  );
  const loopGuard = createLoopGuard({ forwarder, log });
  const clients = createClients(
    { networks: options.clientNetworks },
    { nodeAddresses: feed.nodeAddresses, nowMs: clock.monotonicMs },
  );
  const handler = createHandler({ resolver, forwarder, loopGuard, clients, metrics, clock, log });
  metrics.gauges({ cacheEntries: forwarder.cacheEntries, names: zone.size, loop: loopGuard.found });
  hostResolvers.onChange(() => void loopGuard.probe());
  const beat = heartbeats.register('DNS server', MAX_SILENCE_MS);

  async function listen(): Promise<{ udp: UdpListener; all: Listener[] }> {
    const { bindAddress: address, port, metricsPort } = options;
    const listeners: Listener[] = [];
    try {
      // TCP first: where the kernel chooses the port, connections that have ended hold many of TCP's and none of UDP's.
      const tcp = await listenTcp({ address, port, onRefused: metrics.refused }, handler);
      listeners.push(tcp);
      const udp = await listenUdp({ address, port: tcp.port }, handler, log);
      listeners.push(udp);
      const healthProblem = () => heartbeats.overdue().map(({ name }) => `${name} is silent`)[0];
      listeners.push(await listenHttp({ port: metricsPort, healthProblem }, dependencies.metrics));
      return { udp, all: listeners };
    } catch (error) {
      await Promise.all(listeners.map((listener) => listener.close()));
      throw error;
    }
  }

  async function serve(signal: AbortSignal, onReady: (ports: { dns: number; http: number }) => void): Promise<void> {
    await Promise.all([feed.synced(signal), hostResolvers.look()]);
    const { udp, all: listeners } = await listen();
    log.info({ address: options.bindAddress, port: listeners[0]!.port, names: zone.size() }, 'DNS answers');
    onReady({ dns: listeners[0]!.port, http: listeners[2]!.port });
    while (!signal.aborted) {
      beat();
      await clock.sleep(HEARTBEAT_MS, signal).catch(() => {});
    }
    await udp.drain();
    for (const endMs = clock.monotonicMs() + LAST_ANSWERS_MS; forwarder.waiting() > 0 && clock.monotonicMs() < endMs; )
      await clock.sleep(LAST_ANSWERS_LOOK_MS);
    await Promise.all(listeners.map((listener) => listener.close()));
  }

  return {
    /** Serves until aborted. `onReady` is called when it answers, with the ports in use. */
    run(signal: AbortSignal, onReady: (ports: { dns: number; http: number }) => void = () => {}): Promise<void> {
      return runTogether(
        {
          'zone feed': feed,
          'host resolvers': hostResolvers,
          'DNS listeners': { run: (all) => serve(all, onReady) },
        },
        signal,
      );
    },
  };
}
