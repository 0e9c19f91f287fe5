import type { HostConfig } from '../../src/docker/engine.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import { appArmorOption } from './apparmor.ts';
import { configError } from './errors.ts';
import { MASKED_PATHS, READ_ONLY_PATHS } from './masked-paths.ts';
import { chooseSeccomp } from './seccomp.ts';
import { resolveUser, supplementalGroups } from './user.ts';

export interface SecurityOptions {
  /** `seccompDefault` of the configuration: an unset profile means RuntimeDefault instead of Unconfined. */
  seccompDefault: boolean;
  /** Text of the Localhost profile, if the container has one. */
  seccompProfile?: string;
}

export interface ContainerSecurity {
  /** `uid[:gid]`; undefined leaves the image's user. */
  user?: string;
  hostConfig: HostConfig;
}

const CAPABILITY_PREFIX = 'CAP_';
const bareCapability = (name: string) =>
  name.startsWith(CAPABILITY_PREFIX) ? name.slice(CAPABILITY_PREFIX.length) : name;

/** Sheet §10: pod and container securityContext (the container's field wins) to the Engine's fields. Throws ContainerStartError. */
export function buildSecurity(
  pod: Pod,
  container: Container,
  image: { user: string },
  options: SecurityOptions,
): ContainerSecurity {
  const own = container.securityContext ?? {};
  const user = resolveUser(pod, container, image.user);
  const groups = supplementalGroups(pod);
  const securityOpt = [
    ...(own.allowPrivilegeEscalation === false ? ['no-new-privileges'] : []),
    ...confinement(pod, container, options),
    ...seLinuxOptions(pod, container),
  ];
  return {
    ...(user !== undefined && { user }),
    hostConfig: {
      ...(own.privileged
        ? { Privileged: true }
        : { MaskedPaths: [...MASKED_PATHS], ReadonlyPaths: [...READ_ONLY_PATHS] }),
      ...(own.readOnlyRootFilesystem && { ReadonlyRootfs: true }),
      ...(own.capabilities?.add?.length && { CapAdd: own.capabilities.add.map(bareCapability) }),
      ...(own.capabilities?.drop?.length && { CapDrop: own.capabilities.drop.map(bareCapability) }),
      ...(securityOpt.length > 0 && { SecurityOpt: securityOpt }),
      ...(groups.length > 0 && { GroupAdd: groups.map(String) }),
    },
  };
}

/** seccomp and AppArmor; a privileged container has neither, whatever its profiles say (as upstream). */
function confinement(pod: Pod, container: Container, options: SecurityOptions): string[] {
  const seccomp = chooseSeccomp(pod, container, options.seccompDefault);
  if (container.securityContext?.privileged) return [];
  switch (seccomp.type) {
    case 'RuntimeDefault':
      return appArmorOption(pod, container);
    case 'Unconfined':
      return ['seccomp=unconfined', ...appArmorOption(pod, container)];
    case 'Localhost':
      if (options.seccompProfile === undefined)
        throw configError(`seccomp profile ${seccomp.profile} of container ${container.name} was not read`);
      return [`seccomp=${options.seccompProfile}`, ...appArmorOption(pod, container)];
  }
}

function seLinuxOptions(pod: Pod, container: Container): string[] {
  const options = container.securityContext?.seLinuxOptions ?? pod.spec.securityContext?.seLinuxOptions ?? {};
  return (['user', 'role', 'type', 'level'] as const).flatMap((key) =>
    options[key] ? [`label=${key}:${options[key]}`] : [],
  );
}
