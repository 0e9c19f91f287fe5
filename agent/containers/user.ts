import type { Container, Pod } from '../../src/kube/types.ts';
import { configError } from './errors.ts';

/** Linux takes more, but Docker, runc and the API stop here; beyond it numbers have wrapped to 0 (CVE-2024-40635). */
const MAX_ID = 2 ** 31 - 1;

/**
 * `Config.User` of the create call, `uid[:gid]`; undefined leaves the image's user, whom the Engine resolves.
 * Throws ContainerStartError where runAsNonRoot cannot be kept or a number is none.
 * @param imageUser `USER` of the image: `uid[:gid]`, `name[:group]` or empty for root
 */
export function resolveUser(pod: Pod, container: Container, imageUser: string): string | undefined {
  const podContext = pod.spec.securityContext ?? {};
  const own = container.securityContext ?? {};
  const runAsUser = own.runAsUser ?? podContext.runAsUser;
  const runAsGroup = own.runAsGroup ?? podContext.runAsGroup;
  const nonRoot = own.runAsNonRoot ?? podContext.runAsNonRoot ?? false;
  if (runAsUser !== undefined) checkId('runAsUser', runAsUser);
  if (runAsGroup !== undefined) checkId('runAsGroup', runAsGroup);
  if (runAsUser !== undefined) {
    if (nonRoot && runAsUser === 0)
      throw configError(`container's runAsUser breaks non-root policy ${whose(pod, container)}`);
    return runAsGroup === undefined ? String(runAsUser) : `${runAsUser}:${runAsGroup}`;
  }
  const imageUid = numericUser(imageUser);
  if (nonRoot) verifyNonRoot(pod, container, imageUser, imageUid);
  if (runAsGroup !== undefined) return `${userPart(imageUser) || '0'}:${runAsGroup}`;
  // Named in full, so that nobody else runs when the tag moves to another image before the create call.
  return nonRoot ? imageUser : undefined;
}

/** supplementalGroups and fsGroup, for `HostConfig.GroupAdd`. */
export function supplementalGroups(pod: Pod): number[] {
  const { supplementalGroups: groups = [], fsGroup } = pod.spec.securityContext ?? {};
  for (const group of groups) checkId('supplementalGroups', group);
  if (fsGroup !== undefined) checkId('fsGroup', fsGroup);
  return [...new Set([...groups, ...(fsGroup === undefined ? [] : [fsGroup])])];
}

function checkId(field: string, id: number): void {
  if (!Number.isSafeInteger(id) || id < 0 || id > MAX_ID)
    throw configError(`securityContext.${field} ${id}: must be between 0 and ${MAX_ID}, inclusive`);
}

const userPart = (imageUser: string) => imageUser.split(':')[0] ?? '';
const whose = (pod: Pod, container: Container) =>
  `(pod: "${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})", container: ${container.name})`;

/**
 * The uid that an image names by number, as runc reads it (`+0` and `00` are 0); undefined for a name. A number beyond
 * the range is nobody: runc would take it for the name of a user, whom the image may well give uid 0 (CVE-2026-46680).
 */
function numericUser(imageUser: string): number | undefined {
  const user = userPart(imageUser);
  if (user === '') return 0;
  if (!/^[+-]?\d+$/.test(user)) return undefined;
  const uid = Number(user);
  if (uid < 0 || uid > MAX_ID)
    throw configError(`user ${user} of the image: uids must be between 0 and ${MAX_ID}, inclusive`);
  return uid;
}

function verifyNonRoot(pod: Pod, container: Container, imageUser: string, imageUid: number | undefined): void {
  if (imageUid === 0)
    throw configError(`container has runAsNonRoot and image will run as root ${whose(pod, container)}`);
  if (imageUid === undefined)
    throw configError(
      `container has runAsNonRoot and image has non-numeric user (${userPart(imageUser)}), cannot verify user is non-root ${whose(pod, container)}`,
    );
}
