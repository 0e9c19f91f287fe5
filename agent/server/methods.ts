import type { Express } from 'express';

/** Paths with the methods that they take, as upstream's router has them. */
const METHODS: readonly [paths: string[], methods: string[]][] = [
  [['/pods{/}', '/runningpods{/}', '/stats/summary', '/configz', '/statusz', '/flagz'], ['GET']],
  [['/metrics', '/metrics/cadvisor', '/metrics/resource', '/metrics/probes', '/metrics/slis'], ['GET']],
  [['/logs', '/logs/{*rest}', '/containerLogs/:namespace/:pod/:container', '/debug/pprof{/*rest}'], ['GET']],
  [['/checkpoint/:namespace/:pod/:container'], ['POST']],
  [['/run/:namespace/:pod/:container', '/run/:namespace/:pod/:uid/:container'], ['POST']],
];

/** 405 for a known path with another method; comes behind all that is served. */
export function refuseOtherMethods(app: Express): void {
  for (const [paths, methods] of METHODS)
    app.all(paths, (request, response, next) => {
      // It was served, and what it asked for is not there.
      if (methods.includes(request.method) || request.method === 'HEAD') return next();
      response
        .status(405)
        .set('allow', methods.join(', '))
        .set('content-type', 'text/plain; charset=utf-8')
        .end('405: Method Not Allowed\n');
    });
}
