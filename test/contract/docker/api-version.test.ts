import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { connectDocker } from '../../../src/docker/connect.ts';
import { DockerError } from '../../../src/docker/errors.ts';

/** An Engine of words: it answers /version as Engines do that have left old clients behind (29 and later). */
async function engine(
  oldest: () => string,
): Promise<{ endpoint: string; asked: string[]; server: Server; folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'berth-engine-'));
  const asked: string[] = [];
  const number = (version: string) => Number(version.split('.')[1]);
  const server = createServer((request, response) => {
    const [, version = '', path = ''] = /^\/v(\d+\.\d+)(\/[^?]*)/.exec(request.url ?? '') ?? [];
    asked.push(`${version} ${path}`);
    response.setHeader('Content-Type', 'application/json');
    if (number(version) >= number(oldest()))
      response.end(JSON.stringify({ Version: '29.0', ApiVersion: '1.52', MinAPIVersion: oldest() }));
    else
      response.writeHead(400).end(
        JSON.stringify({
          message: `client version ${version} is too old. Minimum supported API version is ${oldest()}, please upgrade your client to a newer version`,
        }),
      );
  });
  server.listen(join(folder, 'docker.sock'));
  await once(server, 'listening');
  return { endpoint: `unix://${join(folder, 'docker.sock')}`, asked, server, folder };
}

test('an Engine that no longer speaks the oldest API is spoken to in its own oldest, also when it is upgraded meanwhile', async (t) => {
  let oldest = '1.24';
  const { endpoint, asked, server, folder } = await engine(() => oldest);
  const docker = connectDocker(endpoint);
  t.teardown(() => {
    docker.close();
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  });
  await docker.version();
  oldest = '1.44';
  t.is((await docker.version()).version, '29.0');
  await docker.version();
  t.deepEqual(asked, ['1.41 /version', '1.41 /version', '1.44 /version', '1.44 /version']);
});

test('any other refusal is an error, and asked once', async (t) => {
  const { endpoint, asked, server, folder } = await engine(() => '1.99');
  const docker = connectDocker(endpoint);
  t.teardown(() => {
    docker.close();
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  });
  server.removeAllListeners('request');
  server.on('request', (request, response) => {
    asked.push(request.url ?? '');
    response.writeHead(400, { 'Content-Type': 'application/json' }).end('{"message":"no"}');
  });
  await t.throwsAsync(docker.version(), { instanceOf: DockerError, message: /no/ });
  t.is(asked.length, 1);
});
