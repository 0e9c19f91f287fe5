import { randomBytes } from 'node:crypto';
import type { ContainerConfig, DockerEngine } from '../../src/docker/engine.ts';
import { isDockerConflict, isDockerNotFound } from '../../src/docker/errors.ts';
import type { RuntimeCache } from '../pods/runtime-cache.ts';
import { ContainerStartError } from './errors.ts';

export interface CreateOnceDependencies {
  docker: Pick<DockerEngine, 'createContainer' | 'inspectContainer' | 'removeContainer'>;
  runtime: Pick<RuntimeCache, 'refresh' | 'recordRemoved'>;
}

/**
 * Makes the one container of a run: its name stands for pod UID, container and attempt, so whatever has that name was
 * made by a call whose answer never came. If it never ran it gives way; if it runs or has run it is taken over, and
 * ContainerStartError has the next pass decide about it.
 */
export async function createContainerOnce(
  { docker, runtime }: CreateOnceDependencies,
  name: string,
  config: ContainerConfig,
  signal: AbortSignal,
): Promise<{ id: string }> {
  try {
    return await docker.createContainer(name, config, signal);
  } catch (error) {
    if (!isDockerConflict(error)) throw error;
  }
  const unused = await takeOver({ docker, runtime }, name, signal);
  if (unused) {
    await docker.removeContainer(unused.id, { force: true }, signal).catch(ignoreNotFound);
    runtime.recordRemoved(unused.id);
  }
  return docker.createContainer(name, config, signal).catch((error) => {
    if (!isDockerConflict(error)) throw error;
    // The Engine keeps the name for something that it no longer has.
    return docker.createContainer(`${name}_${randomBytes(4).toString('hex')}`, config, signal);
  });
}

/**
 * Looks for a container of that name. One that runs or has run is recorded, and ContainerStartError has the next pass
 * decide about it; resolves to one that was only made.
 */
export async function takeOver(
  { docker, runtime }: Pick<CreateOnceDependencies, 'runtime'> & { docker: Pick<DockerEngine, 'inspectContainer'> },
  name: string,
  signal: AbortSignal,
): Promise<{ id: string } | undefined> {
  const found = await docker.inspectContainer(name, signal).catch(ignoreNotFound);
  if (!found || found.state === 'created') return found;
  await runtime.refresh(found.id, signal);
  throw new ContainerStartError('CreateContainerError', `container ${name} is there already`, { retryAfterMs: 0 });
}

function ignoreNotFound(error: unknown): undefined {
  if (!isDockerNotFound(error)) throw error;
  return undefined;
}
