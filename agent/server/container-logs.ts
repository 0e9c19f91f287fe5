import type { DockerEngine } from '../../src/docker/engine.ts';
import { isDockerNotFound } from '../../src/docker/errors.ts';
import type { ContainerStatus, Pod } from '../../src/kube/types.ts';
import type { ContainerLogOptions } from './log-options.ts';

/** Says why there is no log, with its HTTP status code. */
export class NoLogError extends Error {
  override readonly name = 'NoLogError';
  readonly statusCode: number;
  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

/** The container whose log is meant: the running one, the one that ended, or the one before. Throws NoLogError. */
export function chooseLogContainer(pod: Pod, containerName: string, previous: boolean): { id: string; tty: boolean } {
  const { name } = pod.metadata;
  const { containers, initContainers = [], ephemeralContainers = [] } = pod.spec;
  const container = [...containers, ...initContainers, ...ephemeralContainers].find(
    (one) => one.name === containerName,
  );
  if (!container) throw new NoLogError(404, `container "${containerName}" not found in pod "${name}"`);
  const { containerStatuses = [], initContainerStatuses = [], ephemeralContainerStatuses = [] } = pod.status ?? {};
  const status = [...containerStatuses, ...initContainerStatuses, ...ephemeralContainerStatuses].find(
    (one) => one.name === containerName,
  );
  if (!status) throw new NoLogError(400, `container "${containerName}" in pod "${name}" is not available`);
  const id = previous ? previousId(status, name) : currentId(status, name);
  return { id: id.replace(/^docker:\/\//, ''), tty: container.tty ?? false };
}

function previousId(status: ContainerStatus, pod: string): string {
  const id = status.lastState?.terminated?.containerID;
  if (!id) throw new NoLogError(400, `previous terminated container "${status.name}" in pod "${pod}" not found`);
  return id;
}

function currentId({ name, state, lastState, containerID }: ContainerStatus, pod: string): string {
  const ended = lastState?.terminated;
  if (state?.running && containerID) return containerID;
  if (state?.terminated || ended) {
    const id = state?.terminated?.containerID || ended?.containerID;
    if (!id) throw new NoLogError(400, `container "${name}" in pod "${pod}" is terminated`);
    return id;
  }
  const reasons: Record<string, string> = {
    ErrImagePull: 'trying and failing to pull image',
    ImagePullBackOff: "image can't be pulled",
  };
  const reason = state?.waiting?.reason;
  throw new NoLogError(
    400,
    reason
      ? `container "${name}" in pod "${pod}" is waiting to start: ${reasons[reason] ?? reason}`
      : `container "${name}" in pod "${pod}" is waiting to start - no logs yet`,
  );
}

/** The log as plain text, stdout and stderr in the order they came, cut at `limitBytes`. Throws NoLogError before the first byte. */
export async function* readContainerLog(
  docker: Pick<DockerEngine, 'containerLogs'>,
  container: { id: string; tty: boolean },
  options: ContainerLogOptions,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const { limitBytes, previous: _, ...query } = options;
  let left = limitBytes ?? Number.POSITIVE_INFINITY;
  try {
    for await (const { data } of docker.containerLogs(container.id, { ...query, tty: container.tty }, signal)) {
      if (data.length >= left) {
        yield data.subarray(0, left);
        return;
      }
      left -= data.length;
      yield data;
    }
  } catch (error) {
    if (isDockerNotFound(error))
      throw new NoLogError(400, `unable to retrieve container logs for docker://${container.id}`);
    throw error;
  }
}
