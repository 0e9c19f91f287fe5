import type { DockerEngine, ImageDetail } from '../../src/docker/engine.ts';
import { dockerMessage, isDockerNotFound } from '../../src/docker/errors.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import { ContainerStartError } from '../containers/errors.ts';
import { containerFieldPath } from '../containers/kill.ts';
import type { AgentMetrics, EventSink } from '../pods/ports.ts';
import type { ImageAccess } from './access.ts';
import type { PodCredentials } from './credentials.ts';
import { DockerConfigError } from './docker-config.ts';
import type { Credential } from './keyring.ts';
import type { ImageMetrics } from './metrics.ts';
import { defaultPullPolicy, imageNameProblem, type PullPolicy, withDefaultTag } from './name.ts';
import type { PodPulls } from './pod-pulls.ts';

export interface ImageDependencies {
  docker: Pick<DockerEngine, 'inspectImage'>;
  access: Pick<ImageAccess, 'mustPull'>;
  credentials: PodCredentials;
  pulls: PodPulls;
  events: EventSink;
  metrics: Pick<AgentMetrics, 'runtimeOperation'>;
  imageMetrics: Pick<ImageMetrics, 'ensured'>;
  /** A pod is about to use the image: it must not be collected meanwhile. */
  onUsed?(imageId: string): void;
}

/** An image that something of a pod needs: a container, or an image volume. */
export interface ImageRequest {
  pod: Pod;
  /** As the spec writes it. */
  image: string;
  /** The default for the name when absent. */
  pullPolicy?: PullPolicy;
  /** Of events: `spec.containers{app}`. */
  fieldPath?: string;
}

export interface Images {
  /** Brings the container's image onto the node by its pull policy. Throws ContainerStartError (`ErrImagePull`, `ImagePullBackOff`, …). */
  ensure(pod: Pod, container: Container, signal: AbortSignal): Promise<ImageDetail>;
  /** The same for whatever else needs an image. */
  ensureImage(request: ImageRequest, signal: AbortSignal): Promise<ImageDetail>;
  /** Forgets the back-off of a pod. */
  forget(uid: string): void;
}

/** What became known on the way to an answer, for the metric. */
interface Seen {
  present?: boolean;
  pullRequired?: boolean;
}

export function createImages(deps: ImageDependencies): Images {
  const { events } = deps;

  function refuse({ pod, fieldPath }: ImageRequest, event: string, reason: string, message: string, cause?: unknown) {
    events.event(pod, 'Warning', event, message, fieldPath);
    return new ContainerStartError(reason, message, { cause });
  }

  async function look(name: string, request: ImageRequest, signal: AbortSignal): Promise<ImageDetail | undefined> {
    try {
      return await deps.metrics.runtimeOperation('image_status', () => deps.docker.inspectImage(name, signal));
    } catch (error) {
      if (isDockerNotFound(error)) return undefined;
      signal.throwIfAborted();
      const message = `Failed to inspect image "${request.image}": ${dockerMessage(error)}`;
      throw refuse(request, 'InspectFailed', 'ImageInspectError', message, error);
    }
  }

  async function mustPull(request: ImageRequest, detail: ImageDetail, lookUp: () => Promise<Credential[]>) {
    try {
      return await deps.access.mustPull(request.image, detail.id, lookUp);
    } catch (error) {
      if (!(error instanceof DockerConfigError)) throw error;
      const message = `Failed to pull image "${request.image}": ${error.message}`;
      throw refuse(request, 'Failed', 'ErrImagePull', message, error);
    }
  }

  async function ensureBy(policy: PullPolicy, request: ImageRequest, seen: Seen, signal: AbortSignal) {
    const { pod, image, fieldPath } = request;
    const problem = imageNameProblem(image);
    if (problem) {
      const message = `Failed to apply default image tag "${image}": couldn't parse image name "${image}": ${problem}`;
      throw refuse(request, 'InspectFailed', 'InvalidImageName', message);
    }
    const name = withDefaultTag(image);
    const lookUp = deps.credentials.lookUp(pod, image);
    if (policy !== 'Always') {
      const detail = await look(name, request, signal);
      seen.present = detail !== undefined;
      if (detail) {
        seen.pullRequired = await mustPull(request, detail, lookUp);
        if (!seen.pullRequired) {
          const message = `Container image "${image}" already present on machine and can be accessed by the pod`;
          events.event(pod, 'Normal', 'Pulled', message, fieldPath);
          return detail;
        }
      }
    }
    if (policy === 'Never') {
      // Also for an image that is here but not for this pod: that it is here is nobody else's business.
      const message = `Container image "${image}" is not present with pull policy of Never`;
      throw refuse(request, 'ErrImageNeverPull', 'ErrImageNeverPull', message);
    }
    seen.pullRequired = true;
    return deps.pulls.pull(name, request, lookUp, signal);
  }

  async function ensureImage(request: ImageRequest, signal: AbortSignal): Promise<ImageDetail> {
    const policy = request.pullPolicy ?? defaultPullPolicy(request.image);
    const seen: Seen = {};
    try {
      const detail = await ensureBy(policy, request, seen, signal);
      deps.onUsed?.(detail.id);
      return detail;
    } finally {
      deps.imageMetrics.ensured(policy, seen.present, seen.pullRequired);
    }
  }

  return {
    ensure: (pod, container, signal) =>
      ensureImage(
        {
          pod,
          image: container.image ?? '',
          ...(container.imagePullPolicy && { pullPolicy: container.imagePullPolicy as PullPolicy }),
          fieldPath: containerFieldPath(pod, container.name),
        },
        signal,
      ),
    ensureImage,
    forget: deps.pulls.forget,
  };
}
