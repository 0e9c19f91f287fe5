import { createReadStream, statSync } from 'node:fs';
import { request } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { DockerError } from '../../src/docker/errors.ts';
import { buildImage } from './build.ts';
import type { ImageRecipe } from './catalog.ts';

/** Makes sure that the Engine has the image, building and loading it when it does not. */
export async function ensureImage(
  engine: DockerEngine,
  endpoint: string,
  recipe: ImageRecipe,
  imagesFolder: string,
): Promise<void> {
  try {
    await engine.inspectImage(recipe.name);
    return;
  } catch (error) {
    if (!(error instanceof DockerError) || error.kind !== 'notFound') throw error;
  }
  await loadImage(endpoint, await buildImage(recipe, imagesFolder));
}

/** `docker load`: the Engine answers 200 and then reports progress and errors as JSON lines. */
async function loadImage(endpoint: string, archive: string): Promise<void> {
  const call = request({
    socketPath: endpoint.slice('unix://'.length),
    method: 'POST',
    path: '/images/load?quiet=1',
    headers: { 'content-type': 'application/x-tar', 'content-length': statSync(archive).size },
  });
  const answered = new Promise<string>((resolve, reject) => {
    call.on('error', reject);
    call.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () =>
        response.statusCode === 200
          ? resolve(body)
          : reject(new Error(`load of ${archive}: HTTP ${response.statusCode} ${body}`)),
      );
    });
  });
  await Promise.all([pipeline(createReadStream(archive), call), answered]);
  const problem = /"error":"([^"]*)"/.exec(await answered)?.[1];
  if (problem) throw new Error(`load of ${archive}: ${problem}`);
}
