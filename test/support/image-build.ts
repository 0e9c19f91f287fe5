import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Builds an image by the Engine's own builder, a layer for each group of files (path → text) upon another image; no registry is asked. */
export async function buildImage(
  socketPath: string,
  name: string,
  base: string,
  layers: Record<string, string>[],
): Promise<void> {
  const dir = await mkdtemp('/tmp/berth-build-');
  try {
    for (const [index, files] of layers.entries())
      for (const [path, text] of Object.entries(files)) {
        await mkdir(dirname(join(dir, `layer${index}`, path)), { recursive: true });
        await writeFile(join(dir, `layer${index}`, path), text, { mode: 0o755 });
      }
    const copies = layers.map((_, index) => `COPY layer${index}/ /`);
    await writeFile(join(dir, 'Dockerfile'), [`FROM ${base}`, ...copies, ''].join('\n'));
    await run('tar', ['-C', dir, '-cf', `${dir}.tar`, '.']);
    await post(socketPath, `/build?t=${encodeURIComponent(name)}`, await readFile(`${dir}.tar`));
  } finally {
    await rm(dir, { recursive: true, force: true });
    await rm(`${dir}.tar`, { force: true });
  }
}

function post(socketPath: string, path: string, body: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/x-tar', 'content-length': body.length };
    const call = request({ socketPath, path, method: 'POST', headers }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => {
        if (response.statusCode === 200 && !text.includes('"errorDetail"')) resolve();
        else reject(new Error(`build: ${response.statusCode} ${text.slice(-500)}`));
      });
    });
    call.on('error', reject);
    call.end(body);
  });
}
