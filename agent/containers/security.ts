import type { HostConfig, ImageDetail } from '../../src/docker/engine.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import { configError } from './errors.ts';

export interface SecurityOptions {
  /** `seccompDefault` of the configuration: an unset profile means RuntimeDefault instead of Unconfined. */
  seccompDefault: boolean;
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
  image: Pick<ImageDetail, 'user'>,
  options: SecurityOptions,
): ContainerSecurity {
  const podContext = pod.spec.securityContext ?? {};
  const own = container.securityContext ?? {};
  const runAsUser = own.runAsUser ?? podContext.runAsUser;
  const runAsGroup = own.runAsGroup ?? podContext.runAsGroup;
  const privileged = own.privileged ?? false;
  if (own.runAsNonRoot ?? podContext.runAsNonRoot ?? false) verifyNonRoot(runAsUser, image.user);
  if (own.procMount && own.procMount !== 'Default')
    throw configError(`securityContext.procMount ${own.procMount} is not supported yet (needs hostUsers: false)`);

  const hostConfig: HostConfig = {};
  const securityOpt: string[] = [];
  if (privileged) hostConfig.Privileged = true;
  if (own.readOnlyRootFilesystem) hostConfig.ReadonlyRootfs = true;
  if (own.capabilities?.add?.length) hostConfig.CapAdd = own.capabilities.add.map(bareCapability);
  if (own.capabilities?.drop?.length) hostConfig.CapDrop = own.capabilities.drop.map(bareCapability);
  if (own.allowPrivilegeEscalation === false) securityOpt.push('no-new-privileges');
  const seccomp = own.seccompProfile ?? podContext.seccompProfile;
  if (!privileged) securityOpt.push(...seccompOption(seccomp, options));
  const appArmor = own.appArmorProfile ?? podContext.appArmorProfile;
  if (!privileged && appArmor?.type === 'Localhost') securityOpt.push(`apparmor=${appArmor.localhostProfile}`);
  if (!privileged && appArmor?.type === 'Unconfined') securityOpt.push('apparmor=unconfined');
  const seLinux = own.seLinuxOptions ?? podContext.seLinuxOptions;
  for (const key of ['user', 'role', 'type', 'level'] as const)
    if (seLinux?.[key]) securityOpt.push(`label=${key}:${seLinux[key]}`);
  if (securityOpt.length > 0) hostConfig.SecurityOpt = securityOpt;
  const groups = [
    ...(podContext.supplementalGroups ?? []),
    ...(podContext.fsGroup === undefined ? [] : [podContext.fsGroup]),
  ];
  if (groups.length > 0) hostConfig.GroupAdd = groups.map(String);
  const user = userOf(runAsUser, runAsGroup, image.user);
  return { hostConfig, ...(user !== undefined && { user }) };
}

function userOf(runAsUser: number | undefined, runAsGroup: number | undefined, imageUser: string): string | undefined {
  if (runAsUser === undefined && runAsGroup === undefined) return undefined;
  const user = runAsUser ?? (imageUser.split(':')[0] || '0');
  return runAsGroup === undefined ? String(user) : `${user}:${runAsGroup}`;
}

function verifyNonRoot(runAsUser: number | undefined, imageUser: string): void {
  if (runAsUser !== undefined) {
    if (runAsUser === 0) throw configError("container's runAsUser breaks non-root policy");
    return;
  }
  const user = imageUser.split(':')[0] ?? '';
  if (user === '' || user === '0' || user === 'root')
    throw configError('container has runAsNonRoot and image will run as root');
  if (!/^\d+$/.test(user))
    throw configError(
      `container has runAsNonRoot and image has non-numeric user (${user}), cannot verify user is non-root`,
    );
}

function seccompOption(
  profile: { type: string; localhostProfile?: string } | undefined,
  options: SecurityOptions,
): string[] {
  const type = profile?.type ?? (options.seccompDefault ? 'RuntimeDefault' : 'Unconfined');
  if (type === 'RuntimeDefault') return [];
  if (type === 'Unconfined') return ['seccomp=unconfined'];
  throw configError(`seccompProfile ${type} ${profile?.localhostProfile ?? ''} is not supported yet`);
}
