import type { ContainerDetail, DockerEngine } from '../../src/docker/engine.ts';
import { readProcessUser } from '../../src/linux/process-user.ts';
import { repositoryOf } from '../images/name.ts';
import type { ContainerRuntimeStatus } from '../pods/ports.ts';
import { type ContainerIdentity, LABEL } from './identity.ts';
import { readTerminationMessage } from './termination-message.ts';

/** Why a container ended, in status words (sheet §5). */
function terminatedReason(detail: ContainerDetail): string {
  if (detail.oomKilled) return 'OOMKilled';
  if (detail.startedAtMs === undefined && detail.exitCode !== 0) return 'ContainerCannotRun';
  return detail.exitCode === 0 ? 'Completed' : 'Error';
}

/** The image's id as status.imageID shows it: by the digest of the repository that `image` names, where it has one there. */
export function formatImageId(imageId: string, repoDigests: readonly string[], image = ''): string {
  const repository = repositoryOf(image);
  const digest = repoDigests.find((one) => repositoryOf(one) === repository) ?? repoDigests[0];
  return digest ? `docker-pullable://${digest}` : `docker://${imageId}`;
}

/** The status of one of our containers from its inspection. `imageId` is already formatted. */
export async function describeContainer(
  docker: Pick<DockerEngine, 'containerLogs'>,
  identity: ContainerIdentity,
  detail: ContainerDetail,
  imageId: string,
): Promise<ContainerRuntimeStatus> {
  const user = detail.state === 'running' && detail.pid ? await readProcessUser(detail.pid, detail.id) : undefined;
  const message = detail.state === 'exited' ? await readTerminationMessage(docker, detail) : undefined;
  return {
    id: detail.id,
    name: identity.container,
    state: detail.state,
    createdAtMs: detail.createdAtMs,
    startedAtMs: detail.startedAtMs,
    finishedAtMs: detail.finishedAtMs,
    exitCode: detail.exitCode,
    oomKilled: detail.oomKilled,
    image: detail.labels[LABEL.image] ?? detail.image,
    imageId,
    restartCount: identity.attempt,
    hash: detail.labels[LABEL.hash] ?? '',
    sandboxId: detail.labels[LABEL.sandboxId] ?? '',
    ...(detail.state === 'exited' && { reason: terminatedReason(detail) }),
    ...(message !== undefined && { message }),
    ...(user && { user }),
    logPath: detail.labels[LABEL.logPath],
  };
}
