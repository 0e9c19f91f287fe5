import type { UserInfo } from '../../src/auth/user.ts';

/** Connections that this process has made to itself, and as whom: no certificate is shown on them, and nobody outside can make one. */
const insiders = new WeakMap<object, UserInfo>();

export function vouchFor(connection: object, user: UserInfo): void {
  insiders.set(connection, user);
}

/** Whom the process vouches for; undefined for whoever came over the network. */
export function insider(connection: object): UserInfo | undefined {
  return insiders.get(connection);
}
