import type { Express } from 'express';
import type { Clock } from '../runtime/clock.ts';

export interface ZPagesDeps {
  /** Upstream's name of the program: `kubelet`, `kube-proxy`. */
  component: string;
  /** `v1.36.0` */
  version: string;
  /** The command line's flags with their values; none of them holds a secret. */
  flags: Readonly<Record<string, string>>;
  paths: readonly string[];
  clock: Clock;
}

const WARNING =
  'Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.';

/** GET /statusz and /flagz (KEP-4827, KEP-4828): what runs here, since when, and how it was called. */
export function serveZPages(app: Express, { component, version, flags, paths, clock }: ZPagesDeps): void {
  const started = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
  const page = (title: string, lines: string[]) => `\n${component} ${title}\n${WARNING}\n\n${lines.join('\n')}\n`;
  app.get('/statusz', (_, response) => {
    const minutes = Math.floor((clock.monotonicMs() - started.monotonicMs) / 60_000);
    const lines = [
      `Started: ${new Date(started.wallMs).toUTCString()}`,
      `Up: ${Math.floor(minutes / 60)} hr ${String(minutes % 60).padStart(2, '0')} min`,
      `Node.js version: ${process.version}`,
      `Binary version: ${version}`,
      `Paths: ${paths.join(' ')}`,
    ];
    response.type('text/plain').end(page('statusz', lines));
  });
  app.get('/flagz', (_, response) => {
    const names = Object.keys(flags).sort();
    response.type('text/plain').end(
      page(
        'flags',
        names.map((name) => `${name}=${flags[name]}`),
      ),
    );
  });
}
