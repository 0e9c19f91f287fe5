import type { Express } from 'express';
import { plainText } from '../../src/diagnostics/plain-text.ts';
import type { ContainerExec, PodDirectory } from '../pods/ports.ts';
import { chooseTarget, StreamRefusal } from './stream-target.ts';

export interface RunCommandDeps {
  pods: PodDirectory;
  exec: ContainerExec;
}

const MAX_OUTPUT_BYTES = 16 << 20;

/** POST /run/NAMESPACE/POD[/UID]/CONTAINER?cmd=…: runs a command to its end and answers with all that it printed. */
export function serveRunCommand(app: Express, { pods, exec }: RunCommandDeps): void {
  const paths = ['/run/:namespace/:pod/:container', '/run/:namespace/:pod/:uid/:container'];
  app.post(paths, async (request, response) => {
    const { namespace = '', pod = '', uid, container = '' } = request.params as Record<string, string>;
    const command = new URL(request.originalUrl, 'https://node').searchParams.get('cmd')?.split(' ').filter(Boolean);
    if (!command?.length) return plainText(response, 400, 'you must specify the command: cmd=…\n');
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    try {
      const target = chooseTarget(pods, { kind: 'exec', namespace, pod, ...(uid && { uid }), container });
      const { exitCode, output } = await exec.exec(target.containerId, command, {
        maxOutputBytes: MAX_OUTPUT_BYTES,
        signal: gone.signal,
      });
      if (exitCode === 0) plainText(response, 200, output);
      else plainText(response, 500, `${output}command terminated with exit code ${exitCode}\n`);
    } catch (error) {
      if (gone.signal.aborted) return;
      if (!(error instanceof StreamRefusal)) throw error;
      plainText(response, error.statusCode, `${error.message}\n`);
    }
  });
  app.all(['/run/{*rest}'], (request, response) => {
    if (request.method !== 'POST') response.set('allow', 'POST');
    plainText(response, request.method === 'POST' ? 404 : 405, `${request.method} is not served here\n`);
  });
}
