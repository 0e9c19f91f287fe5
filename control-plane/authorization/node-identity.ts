import type { UserInfo } from '../apiserver/authorization.ts';

const USER_PREFIX = 'system:node:';
const GROUP = 'system:nodes';

/** The node that a user is; undefined for everybody else. Both the name and the group must say so. */
export function nodeNameOf(user: UserInfo): string | undefined {
  return user.username.startsWith(USER_PREFIX) &&
    user.username.length > USER_PREFIX.length &&
    user.groups.includes(GROUP)
    ? user.username.slice(USER_PREFIX.length)
    : undefined;
}
