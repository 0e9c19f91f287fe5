import { createHash } from 'node:crypto';
import type { TokenAuthenticator } from './token-authenticator.ts';
import type { UserInfo } from './user.ts';

export interface StaticToken {
  readonly token: string;
  readonly user: UserInfo;
}

/** Tokens are kept and compared as SHA-256 sums: neither a heap dump nor the time of a comparison tells one. */
export function createStaticTokenAuthenticator(tokens: readonly StaticToken[]): TokenAuthenticator {
  const users = new Map(tokens.map(({ token, user }) => [digest(token), user]));
  return { authenticate: (token) => users.get(digest(token)) };
}

/**
 * Parses kube-apiserver's token file: a line `token,user,uid[,"group1,group2"]` each. Throws an Error that names the
 * line, never its content.
 */
export function parseTokenFile(text: string): StaticToken[] {
  const tokens: StaticToken[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const match = /^([^,"]+),([^,"]+),([^,"]*)(?:,(?:"([^"]*)"|([^,"]*)))?$/.exec(line);
    if (!match)
      throw new Error(`token file, line ${index + 1}: expected token,user,uid or token,user,uid,"group1,group2"`);
    const [, token, username, uid, quoted, plain] = match;
    const groups = (quoted ?? plain ?? '').split(',').map((group) => group.trim());
    tokens.push({
      token: token!,
      user: { username: username!, ...(uid ? { uid } : {}), groups: groups.filter(Boolean) },
    });
  }
  return tokens;
}

const digest = (token: string) => createHash('sha256').update(token).digest('base64');
