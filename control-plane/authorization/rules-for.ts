import type { UserInfo } from '../../src/auth/user.ts';
import type { SubjectRulesReviewStatus } from '../../src/kube/schema/generated/types/authorization-v1.ts';
import { ADMINISTRATORS } from './authorizer.ts';
import { nodeNameOf } from './node-identity.ts';
import { GROUP_RULES, NODE_RULES, PATHS_BY_GROUP, type Rule, USER_RULES } from './rules.ts';

const EVERYTHING = ['*'];
const READ_PATH = ['get'];

/** All that the fixed rules let a user do in a namespace, for a SelfSubjectRulesReview. */
export function rulesFor(user: UserInfo, namespace: string): SubjectRulesReviewStatus {
  if (user.groups.includes(ADMINISTRATORS))
    return {
      resourceRules: [{ verbs: EVERYTHING, apiGroups: EVERYTHING, resources: EVERYTHING }],
      nonResourceRules: [{ verbs: EVERYTHING, nonResourceURLs: EVERYTHING }],
      incomplete: false,
    };
  const isNode = nodeNameOf(user) !== undefined;
  const rules = [
    ...user.groups.flatMap((group) => GROUP_RULES[group] ?? []),
    ...(USER_RULES[user.username] ?? []),
    ...(isNode ? NODE_RULES : []),
  ];
  return {
    resourceRules: rules.filter((rule) => (rule.namespace ?? namespace) === namespace).map(resourceRule),
    nonResourceRules: user.groups.flatMap((group) =>
      PATHS_BY_GROUP[group] ? [{ verbs: READ_PATH, nonResourceURLs: [...PATHS_BY_GROUP[group]] }] : [],
    ),
    incomplete: isNode,
    // What a node may beside these depends on the pods that it runs.
    ...(isNode && { evaluationError: 'node authorizer does not support user rule resolution' }),
  };
}

const resourceRule = ({ verbs, apiGroups, resources, resourceNames }: Rule) => ({
  verbs: [...verbs],
  apiGroups: [...apiGroups],
  resources: [...resources],
  ...(resourceNames && { resourceNames: [...resourceNames] }),
});
