import { request } from 'node:http';
import type { DockerEngine } from '../../src/docker/engine.ts';

export interface DerivedImage {
  name: string;
  from: string;
  /** Dockerfile instructions such as `USER 1000`. */
  changes?: string[];
  /** Shell commands whose effects on files stay in the image. */
  script?: string;
}

/** Makes an image of another one, as a Dockerfile of few lines would; nothing is asked of any registry. */
export async function deriveImage(
  engine: { socketPath: string; docker: DockerEngine },
  { name, from, changes = [], script = ':' }: DerivedImage,
): Promise<void> {
  const { docker, socketPath } = engine;
  const { id } = await docker.createContainer(`derive-${name.replace(/[^a-z0-9]/g, '-')}`, {
    Image: from,
    User: '0',
    Cmd: ['sh', '-ec', script],
    HostConfig: { NetworkMode: 'none' },
  });
  try {
    await docker.startContainer(id);
    const { exitCode } = await docker.waitContainer(id);
    if (exitCode !== 0) throw new Error(`image ${name}: the script ended with ${exitCode}`);
    const [repo, tag] = name.split(':') as [string, string];
    const query = new URLSearchParams({ container: id, repo, tag });
    for (const change of ['USER 0', 'CMD ["/bin/sh"]', ...changes]) query.append('changes', change);
    await post(socketPath, `/v1.41/commit?${query}`);
  } finally {
    await docker.removeContainer(id, { force: true });
  }
}

/** Gives an image one more name. */
export async function tagImage(socketPath: string, image: string, name: string): Promise<void> {
  const [repo, tag] = name.split(':') as [string, string];
  await post(socketPath, `/v1.41/images/${image}/tag?${new URLSearchParams({ repo, tag })}`);
}

function post(socketPath: string, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, method: 'POST' }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => (response.statusCode === 201 ? resolve() : reject(new Error(`${path}: ${body}`))));
    });
    call.on('error', reject);
    call.end();
  });
}
