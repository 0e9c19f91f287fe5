import type { Container, EphemeralContainer } from '../../src/kube/types.ts';
import type { PodRuntimeStatus } from '../pods/ports.ts';
import { configError } from './errors.ts';

/**
 * The container whose processes an ephemeral container sees (targetContainerName); undefined when it names none. Throws
 * ContainerStartError while the target is not there.
 */
export function targetContainerId(
  container: Container | EphemeralContainer,
  observed: PodRuntimeStatus,
): string | undefined {
  const target = 'targetContainerName' in container ? container.targetContainerName : undefined;
  if (!target) return undefined;
  const record = observed.containers.find(({ name }) => name === target);
  if (!record) throw configError(`unable to find target container ${target}`);
  // The Engine would make it and then fail to start it, and it would have had its run.
  if (record.state !== 'running') throw configError(`target container ${target} is not running`);
  return record.id;
}
