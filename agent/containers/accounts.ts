import type { ContainerConfig, DockerEngine, ImageDetail } from '../../src/docker/engine.ts';
import { isDockerConflict } from '../../src/docker/errors.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import { LABEL } from './identity.ts';

/** Users and groups that an image knows: its /etc/passwd and /etc/group. */
export interface ImageAccounts {
  users: { name: string; uid: number; gid: number }[];
  groups: { name: string; gid: number; members: string[] }[];
}

/** Parses passwd(5) and group(5) as runc does: lines that make no sense are nobody. */
export function parseAccounts(passwd: string, group: string): ImageAccounts {
  const rows = (text: string) => text.split('\n').map((line) => line.trim().split(':'));
  return {
    users: rows(passwd)
      .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid || Number.NaN), gid: Number(gid || Number.NaN) }))
      .filter(({ uid, gid }) => Number.isInteger(uid) && Number.isInteger(gid)),
    groups: rows(group)
      .map(([name = '', , gid, members = '']) => ({
        name,
        gid: Number(gid || Number.NaN),
        members: members.split(',').filter(Boolean),
      }))
      .filter(({ gid }) => Number.isInteger(gid)),
  };
}

const isStrict = (pod: Pod) => pod.spec.securityContext?.supplementalGroupsPolicy === 'Strict';
const groupAskedFor = (pod: Pod, container: Container) =>
  container.securityContext?.runAsGroup ?? pod.spec.securityContext?.runAsGroup;

/**
 * Whether the Engine alone would give the container other groups than the policy says. It takes the memberships of the
 * image's /etc/group into account just where it is told no group: so Strict needs the group spelled out, and Merge needs
 * the memberships spelled out where runAsGroup is set.
 * @param user `uid[:gid]` of the create call, else of the image
 */
export function needsAccounts(pod: Pod, container: Container, user: string): boolean {
  return isStrict(pod) ? !user.includes(':') : groupAskedFor(pod, container) !== undefined;
}

/** User and additional groups of the create call, by what the image says of its users. */
export function applyAccounts(
  pod: Pod,
  user: string,
  groups: readonly string[],
  accounts: ImageAccounts,
): { user: string; groups: string[] } {
  const [who = '', group] = user.split(':');
  const uid = /^\d+$/.test(who || '0') ? Number(who || '0') : undefined;
  const known = accounts.users.find((one) => (uid === undefined ? one.name === who : one.uid === uid));
  if (isStrict(pod)) return { user: `${who || '0'}:${group ?? known?.gid ?? 0}`, groups: [...groups] };
  const memberships = accounts.groups.filter(({ members }) => known && members.includes(known.name));
  return { user, groups: [...new Set([...groups, ...memberships.map(({ gid }) => String(gid))])] };
}

/** Bounds what is kept; a node has fewer images in use. */
const MAX_KNOWN = 256;

export interface ImageAccountsReader {
  /** The create call with user and groups spelled out where the Engine alone would choose others than the policy says. */
  complete(
    config: ContainerConfig,
    pod: Pod,
    container: Container,
    image: Pick<ImageDetail, 'id' | 'user'>,
  ): Promise<ContainerConfig>;
}

/** Images never change, so each is read once: from a container that is made of it, never started, and removed. */
export function createImageAccountsReader(
  nodeName: string,
  docker: Pick<DockerEngine, 'createContainer' | 'readContainerFile' | 'removeContainer'>,
): ImageAccountsReader {
  const known = new Map<string, Promise<ImageAccounts>>();

  async function read(imageId: string): Promise<ImageAccounts> {
    // The same name again after a crash: what is left over is found and gives way (or goes with the node, by its label).
    const name = `berth_accounts_${imageId.replace(/^sha256:/, '').slice(0, 12)}`;
    const config: ContainerConfig = {
      Image: imageId,
      Entrypoint: ['/never-started'],
      Labels: { [LABEL.node]: nodeName },
      HostConfig: { NetworkMode: 'none' },
    };
    const { id } = await docker.createContainer(name, config).catch(async (error) => {
      if (!isDockerConflict(error)) throw error;
      await docker.removeContainer(name, { force: true });
      return docker.createContainer(name, config);
    });
    try {
      const [passwd, group] = await Promise.all(
        ['/etc/passwd', '/etc/group'].map((path) => docker.readContainerFile(id, path)),
      );
      return parseAccounts(passwd?.toString() ?? '', group?.toString() ?? '');
    } finally {
      await docker.removeContainer(id, { force: true });
    }
  }

  function accountsOf(imageId: string): Promise<ImageAccounts> {
    const found = known.get(imageId);
    if (found) return found;
    const [oldest] = known.keys();
    if (known.size >= MAX_KNOWN && oldest !== undefined) known.delete(oldest);
    const accounts = read(imageId);
    known.set(imageId, accounts);
    accounts.catch(() => known.delete(imageId));
    return accounts;
  }

  return {
    async complete(config, pod, container, image) {
      const asked = config.User ?? image.user;
      if (!needsAccounts(pod, container, asked)) return config;
      const given = config.HostConfig?.GroupAdd ?? [];
      const { user, groups } = applyAccounts(pod, asked, given, await accountsOf(image.id));
      return {
        ...config,
        User: user,
        HostConfig: { ...config.HostConfig, ...(groups.length > 0 && { GroupAdd: groups }) },
      };
    },
  };
}
