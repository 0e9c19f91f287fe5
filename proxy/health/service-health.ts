import type { ObjectReference } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { type HttpListener, listenHttp } from './listen.ts';

/** A Service whose load balancer asks each node whether endpoints live there. */
export interface ServiceHealthCheck {
  port: number;
  /** Ready endpoints on this node, each pod once. */
  localEndpoints: number;
}

/** What the snapshot says should be answered, by `ns/name`. */
export function collectServiceHealthChecks(snapshot: ProxySnapshot): Map<string, ServiceHealthCheck> {
  const checks = new Map<string, ServiceHealthCheck>();
  for (const [name, { ports }] of snapshot.services) {
    const healthCheckNodePort = ports[0]?.port.healthCheckNodePort ?? 0;
    if (healthCheckNodePort === 0) continue;
    const ready = ports.flatMap(({ endpoints }) => endpoints.filter(({ isLocal, isReady }) => isLocal && isReady));
    checks.set(name, { port: healthCheckNodePort, localEndpoints: new Set(ready.map(({ ip }) => ip)).size });
  }
  return checks;
}

export interface ServiceHealthOptions {
  isProxyHealthy(): boolean;
  log: Logger;
  /** Tells people which Service's port could not be opened. */
  warn(service: ObjectReference, message: string): void;
}

export interface ServiceHealthServers {
  /** Opens, closes and updates servers; each service's port on every one of the addresses (`''` is the wildcard). Calls queue up. */
  sync(checks: ReadonlyMap<string, ServiceHealthCheck>, addresses: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** A Service of two families has its pods in both: the larger count is the number of pods. */
export function mergeServiceHealthChecks(
  all: Iterable<ReadonlyMap<string, ServiceHealthCheck>>,
): Map<string, ServiceHealthCheck> {
  const merged = new Map<string, ServiceHealthCheck>();
  for (const checks of all)
    for (const [name, check] of checks) {
      const localEndpoints = Math.max(check.localEndpoints, merged.get(name)?.localEndpoints ?? 0);
      merged.set(name, { ...check, localEndpoints });
    }
  return merged;
}

interface Running {
  port: number;
  addresses: string;
  check: ServiceHealthCheck;
  listeners: HttpListener[];
}

export function createServiceHealthServers(options: ServiceHealthOptions): ServiceHealthServers {
  const running = new Map<string, Running>();

  async function open(name: string, check: ServiceHealthCheck, addresses: readonly string[]): Promise<void> {
    const [namespace, service] = name.split('/') as [string, string];
    const server: Running = { port: check.port, addresses: addresses.join(), check, listeners: [] };
    running.set(name, server);
    const answer = () => buildAnswer(namespace, service, server.check.localEndpoints, options.isProxyHealthy());
    for (const address of addresses)
      try {
        const at = address.includes(':') ? `[${address}]:${check.port}` : `${address}:${check.port}`;
        const listener = await listenHttp(at, 'healthCheckNodePort of the Service', (_request, response) => {
          const { code, headers, body } = answer();
          response.writeHead(code, headers).end(body);
        });
        server.listeners.push(listener);
      } catch (error) {
        const message = `node failed to start healthcheck: ${(error as Error).message}`;
        options.log.error({ service: name, err: error }, 'no health check port for the service');
        options.warn({ apiVersion: 'v1', kind: 'Service', namespace, name: service }, message);
        // Forgotten, so that the next sync tries again.
        running.delete(name);
        await closeAll(server);
        return;
      }
  }

  async function syncOnce(
    checks: ReadonlyMap<string, ServiceHealthCheck>,
    addresses: readonly string[],
  ): Promise<void> {
    for (const [name, server] of running) {
      const check = checks.get(name);
      if (check?.port === server.port && server.addresses === addresses.join()) continue;
      running.delete(name);
      await closeAll(server);
    }
    for (const [name, check] of checks) {
      const server = running.get(name);
      if (server) server.check = check;
      else await open(name, check, addresses);
    }
  }

  let turn: Promise<void> = Promise.resolve();
  return {
    sync(checks, addresses) {
      turn = turn.then(() => syncOnce(checks, addresses));
      return turn;
    },
    async close() {
      await turn;
      for (const server of running.values()) await closeAll(server);
      running.clear();
    },
  };
}

async function closeAll({ listeners }: Running): Promise<void> {
  await Promise.all(listeners.map((listener) => listener.close()));
}

/** The servers, led by the snapshots of the families. */
export interface ServiceHealth {
  update(snapshot: ProxySnapshot): void;
  close(): Promise<void>;
}

export function createServiceHealth(
  options: Omit<ServiceHealthOptions, 'warn'> & {
    /** Where the ports listen, given the families that have been seen. */
    addresses(families: readonly IpFamily[]): readonly string[];
    warn(service: ObjectReference, reason: string, message: string): void;
  },
): ServiceHealth {
  const servers = createServiceHealthServers({
    ...options,
    warn: (service, message) => options.warn(service, 'FailedToStartServiceHealthcheck', message),
  });
  const checksOf = new Map<IpFamily, ReadonlyMap<string, ServiceHealthCheck>>();
  return {
    update(snapshot) {
      checksOf.set(snapshot.family, collectServiceHealthChecks(snapshot));
      void servers.sync(mergeServiceHealthChecks(checksOf.values()), options.addresses([...checksOf.keys()]));
    },
    close: servers.close,
  };
}

/** The answer of a health check port, in kube-proxy's words. */
export function buildAnswer(namespace: string, name: string, localEndpoints: number, isProxyHealthy: boolean) {
  return {
    code: localEndpoints > 0 && isProxyHealthy ? 200 : 503,
    headers: {
      'Content-Type': 'application/json',
      'X-Content-Type-Options': 'nosniff',
      'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
    },
    body: JSON.stringify(
      { service: { namespace, name }, localEndpoints, serviceProxyHealthy: isProxyHealthy },
      null,
      '\t',
    ),
  };
}
