import type { AddressInfo } from 'node:net';
import express, { type Request, type Response, type Router } from 'express';
import ipaddr from 'ipaddr.js';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { buildServiceReport, type ReportDependencies } from './service-report.ts';

/** Whether the holder of a bearer token may read a path; the proxy itself decides nothing. */
export type DebugAccess = (token: string, path: string) => Promise<DebugDecision>;

export type DebugDecision = { kind: 'allowed' } | { kind: 'unknown' | 'denied' | 'failed'; message: string };

export interface DebugOptions extends Omit<ReportDependencies, 'live'> {
  access: DebugAccess;
  readLive: NonNullable<ReportDependencies['live']>;
  log: Logger;
}

const READ_ONLY = ['GET', 'HEAD'];

/**
 * `/debug/berth/services` and `/debug/berth/services/NS/NAME[?kernel=true]`: what this node does with the traffic of Services, as JSON.
 * Read-only, and for those alone whom the API server lets read the path. The port has no TLS, so credentials are taken on loopback only.
 */
export function createDebugRoutes(options: DebugOptions): Router {
  const router = express.Router();
  let isReadingKernel = false;

  router.use(async (request, response, next) => {
    response.set('Cache-Control', 'no-store');
    if (!READ_ONLY.includes(request.method)) {
      response.set('Allow', READ_ONLY.join(', '));
      return refuse(response, 405, `${request.method} is not for a path that is only read`);
    }
    if (!isOnLoopback(request))
      return refuse(response, 403, 'credentials are taken on loopback only: this port has no TLS');
    const token = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (!token) return refuse(response, 401, 'a bearer token of the cluster is needed');
    const decision = await options.access(token, request.baseUrl + request.path);
    if (decision.kind === 'allowed') return next();
    const code = { unknown: 401, denied: 403, failed: 503 }[decision.kind];
    return refuse(response, code, decision.message);
  });

  router.get('/services', (_request, response) => {
    response.json({ services: listServices(options) });
  });

  router.get('/services/:namespace/:name', async (request, response) => {
    const { namespace, name } = request.params;
    const { kernel } = request.query;
    if (kernel !== undefined && kernel !== 'true' && kernel !== 'false')
      return refuse(response, 400, `kernel=${String(kernel)}: true or false`);
    const wantsKernel = kernel === 'true';
    // The kernel's rules of a big node are megabytes: one reader at a time.
    if (wantsKernel && isReadingKernel) {
      response.set('Retry-After', '1');
      return refuse(response, 429, "the kernel's rules are being read for another request");
    }
    isReadingKernel ||= wantsKernel;
    try {
      const live = wantsKernel ? options.readLive : undefined;
      const report = await buildServiceReport(namespace!, name!, { ...options, live });
      if (report) response.json(report);
      else
        refuse(
          response,
          404,
          `this node has no rules for Service ${namespace}/${name}: it does not exist, is headless or an ExternalName, is left to another proxy, or is not synced yet`,
        );
    } catch (error) {
      options.log.error({ err: error, service: `${namespace}/${name}` }, 'the report on a service has failed');
      refuse(response, 500, (error as Error).message);
    } finally {
      if (wantsKernel) isReadingKernel = false;
    }
  });

  router.use((request, response) => refuse(response, 404, `there is no ${request.baseUrl}${request.path}`));
  return router;
}

function listServices({ families, state, nowMs }: DebugOptions) {
  const now = nowMs();
  const services = new Map<
    string,
    { namespace: string; name: string; ageSeconds: Partial<Record<IpFamily, number>> }
  >();
  for (const family of families)
    for (const key of state.of(family)?.snapshot.services.keys() ?? []) {
      const [namespace = '', name = ''] = key.split('/');
      const entry = services.get(key) ?? { namespace, name, ageSeconds: {} };
      entry.ageSeconds[family] = (now - state.syncedMs(family, key)!) / 1000;
      services.set(key, entry);
    }
  return [...services.values()];
}

function isOnLoopback({ socket }: Request): boolean {
  const { address } = socket.address() as AddressInfo;
  return ipaddr.isValid(address) && ipaddr.process(address).range() === 'loopback';
}

/** As the API server says it. */
function refuse(response: Response, code: number, message: string): void {
  if (code === 401) response.set('WWW-Authenticate', 'Bearer');
  response.status(code).json({ apiVersion: 'v1', kind: 'Status', metadata: {}, status: 'Failure', message, code });
}
