import type { Express, Request, Response } from 'express';
import { plainText } from '../../src/diagnostics/plain-text.ts';
import type { PodDirectory } from '../pods/ports.ts';
import { chooseTarget, StreamRefusal } from './stream-target.ts';

/**
 * POST /checkpoint/NAMESPACE/POD/CONTAINER: refused by name, with the code that upstream has for a runtime which cannot. The Engine's own checkpoints need CRIU and
 * its experimental mode, hold no file system, and are not the archives that upstream's callers read.
 */
export function serveCheckpoint(app: Express, { pods }: { pods: PodDirectory }): void {
  app.post('/checkpoint/:namespace/:pod/:container', (request: Request, response: Response) => {
    const { namespace = '', pod = '', container = '' } = request.params as Record<string, string>;
    try {
      chooseTarget(pods, { kind: 'exec', namespace, pod, container });
    } catch (error) {
      if (!(error instanceof StreamRefusal)) throw error;
      return plainText(response, error.statusCode, `${error.message}\n`);
    }
    const name = `${namespace}/${pod}/${container}`;
    plainText(
      response,
      500,
      `checkpointing of ${name} failed (containers of the Docker Engine cannot be checkpointed by this agent)\n`,
    );
  });
}
