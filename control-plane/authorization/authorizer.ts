import type { AuthorizationAttributes, AuthorizationDecision, Authorizer } from '../apiserver/authorization.ts';
import type { ObjectReader } from '../apiserver/definition.ts';
import { authorizeNode } from './node-authorizer.ts';
import { nodeNameOf } from './node-identity.ts';
import { GROUP_RULES, PATHS_BY_GROUP, pathsAllow, rulesAllow, USER_RULES } from './rules.ts';

export const ADMINISTRATORS = 'system:masters';

const allow = (reason: string): AuthorizationDecision => ({ allowed: true, reason });
const NO_OPINION: AuthorizationDecision = { allowed: false, reason: '' };

/**
 * Fixed rules (sheet §13), until RBAC objects are served: administrators may all, nodes and the control plane's own
 * parts what their work needs, everybody else discovery. What no rule allows is denied.
 */
export function createAuthorizer(dependencies: { objects: ObjectReader }): Authorizer {
  return {
    async authorize(attributes) {
      const { user } = attributes;
      if (user.groups.includes(ADMINISTRATORS)) return allow(`group ${ADMINISTRATORS}`);
      if (!attributes.resourceRequest) return authorizePath(attributes);
      if (rulesAllow(USER_RULES[user.username] ?? [], attributes)) return allow(`fixed rules of ${user.username}`);
      const group = user.groups.find((one) => rulesAllow(GROUP_RULES[one] ?? [], attributes));
      if (group !== undefined) return allow(`fixed rules of group ${group}`);
      const node = nodeNameOf(user);
      return node === undefined ? NO_OPINION : authorizeNode(node, attributes, dependencies.objects);
    },
  };
}

function authorizePath({ user, verb, path }: AuthorizationAttributes): AuthorizationDecision {
  if (verb !== 'get' && verb !== 'head') return NO_OPINION;
  const group = user.groups.find((one) => pathsAllow(PATHS_BY_GROUP[one] ?? [], path));
  return group === undefined ? NO_OPINION : allow(`paths of group ${group}`);
}
