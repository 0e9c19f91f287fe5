/** The made-up cluster of the proxy's benches: what both sides of a process boundary know of it. */

export const API_PORT = 16443;
export const METRICS_PORT = 10249;
/** Endpoints of service 0 that really answer; they are addresses of the namespace's own loopback. */
export const LIVE_ENDPOINTS = ['10.255.0.1', '10.255.0.2'] as const;
export const LIVE_PORT = 8080;

/** Orders to the API server's process. */
export type Order =
  | {
      start: {
        port: number;
        services: number;
        endpoints: number;
        nodeName: string;
        nodeIp: string;
        firstEndpoints: readonly string[];
      };
    }
  | { change: { service: number; addresses: readonly string[] } }
  /** Changes per second, evenly; answered with the milliseconds it took. */
  | { burst: { perSecond: number; seconds: number } }
  /** How many watch slices now. */
  | { watchers: true };

/** Orders to the process that makes traffic. */
export type TrafficOrder =
  | { serve: readonly string[] }
  /** Connects until the wanted endpoint answers; answered with the wall time, milliseconds. */
  | { until: { service: number; endpoint: string; timeoutMs: number } }
  /** Connections one after the other; answered with the microseconds of each. */
  | { connects: { service: number; count: number } }
  /** One connection, full speed; answered with MiB/s. */
  | { stream: { service: number; mebibytes: number } }
  /** The text of a page. */
  | { page: string };

export function serviceNameOf(index: number): string {
  return `service-${String(index).padStart(6, '0')}`;
}

export function clusterIpOf(index: number): string {
  return `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

export function endpointsOf(service: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const number = service * count + index + 2;
    return `10.${128 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  });
}
