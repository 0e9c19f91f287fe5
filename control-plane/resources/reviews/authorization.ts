import type { UserInfo } from '../../../src/auth/user.ts';
import type {
  LocalSubjectAccessReview,
  ResourceAttributes,
  SelfSubjectAccessReview,
  SelfSubjectAccessReviewSpec,
  SelfSubjectRulesReview,
  SubjectAccessReview,
  SubjectAccessReviewSpec,
  SubjectAccessReviewStatus,
} from '../../../src/kube/schema/generated/types/authorization-v1.ts';
import type { FieldSelectorRequirement, KubeObject } from '../../../src/kube/types.ts';
import type { AuthorizationAttributes, Authorizer } from '../../apiserver/authorization.ts';
import type { ResourceDefinition } from '../../apiserver/definition.ts';
import { type FieldError, invalid } from '../../apiserver/field-error.ts';
import { badRequest } from '../../apiserver/status-error.ts';
import { rulesFor } from '../../authorization/rules-for.ts';
import { defineReview } from './define-review.ts';

const GROUP = 'authorization.k8s.io';

/** authorization.k8s.io/v1: may I, may somebody, and what may I (kubectl auth can-i [--list]). */
export function authorizationReviews(authorizer: Authorizer): ResourceDefinition[] {
  const decide = async (user: UserInfo, spec: SelfSubjectAccessReviewSpec): Promise<SubjectAccessReviewStatus> => {
    const { allowed, reason } = await authorizer.authorize(attributesOf(user, spec));
    return { allowed, ...(reason && { reason }) };
  };
  return [
    defineReview<SelfSubjectAccessReview>({
      group: GROUP,
      kind: 'SelfSubjectAccessReview',
      plural: 'selfsubjectaccessreviews',
      validate: ({ spec = {} }) => validateAttributes(spec),
      answer: ({ spec }, { context }) => decide(context.user, spec),
    }),
    defineReview<SubjectAccessReview>({
      group: GROUP,
      kind: 'SubjectAccessReview',
      plural: 'subjectaccessreviews',
      validate: ({ spec = {} }) => [...validateAttributes(spec), ...validateSubject(spec)],
      answer: ({ spec }) => decide(subjectOf(spec), spec),
    }),
    defineReview<LocalSubjectAccessReview>({
      group: GROUP,
      kind: 'LocalSubjectAccessReview',
      plural: 'localsubjectaccessreviews',
      namespaced: true,
      validate: ({ spec = {} }, namespace) => validateLocal(spec, namespace),
      answer: ({ spec }) => decide(subjectOf(spec), spec),
    }),
    defineReview<SelfSubjectRulesReview>({
      group: GROUP,
      kind: 'SelfSubjectRulesReview',
      plural: 'selfsubjectrulesreviews',
      answer({ spec }, { context }) {
        if (!spec?.namespace) throw badRequest('no namespace on request');
        return rulesFor(context.user, spec.namespace);
      },
    }),
  ] as unknown as ResourceDefinition<KubeObject>[];
}

function validateAttributes(spec: SelfSubjectAccessReviewSpec): FieldError[] {
  const { resourceAttributes, nonResourceAttributes } = spec;
  if (resourceAttributes && nonResourceAttributes)
    return [
      invalid(
        'spec.nonResourceAttributes',
        nonResourceAttributes,
        'cannot be specified in combination with resourceAttributes',
      ),
    ];
  if (!resourceAttributes && !nonResourceAttributes)
    return [
      invalid(
        'spec.resourceAttributes',
        null,
        'exactly one of nonResourceAttributes or resourceAttributes must be specified',
      ),
    ];
  return [];
}

const validateSubject = ({ user, groups = [] }: SubjectAccessReviewSpec): FieldError[] =>
  user || groups.length > 0 ? [] : [invalid('spec.user', '', 'at least one of user or group must be specified')];

function validateLocal(spec: SubjectAccessReviewSpec, namespace: string): FieldError[] {
  const errors = [...validateAttributes(spec), ...validateSubject(spec)];
  if (spec.nonResourceAttributes)
    errors.push(
      invalid('spec.nonResourceAttributes', spec.nonResourceAttributes, 'disallowed on this kind of request'),
    );
  const asked = spec.resourceAttributes?.namespace ?? '';
  if (spec.resourceAttributes && asked !== namespace)
    errors.push(invalid('spec.resourceAttributes.namespace', asked, 'must match metadata.namespace'));
  return errors;
}

/** Groups are taken as they are said: nobody is made a member of system:authenticated here. */
const subjectOf = ({ user = '', uid, groups = [], extra }: SubjectAccessReviewSpec): UserInfo => ({
  username: user,
  ...(uid && { uid }),
  groups,
  ...(extra && { extra }),
});

/** The question in the words in which a request asks it. */
export function attributesOf(user: UserInfo, spec: SelfSubjectAccessReviewSpec): AuthorizationAttributes {
  const { resourceAttributes: of, nonResourceAttributes: page } = spec;
  return {
    user,
    verb: (of ?? page)?.verb ?? '',
    resourceRequest: of !== undefined,
    path: page?.path ?? '',
    apiGroup: of?.group ?? '',
    apiVersion: of?.version ?? '',
    resource: of?.resource ?? '',
    subresource: of?.subresource ?? '',
    namespace: of?.namespace ?? '',
    name: of?.name ?? '',
    fieldSelector: fieldSelectorText(of?.fieldSelector),
    labelSelector: of?.labelSelector?.rawSelector ?? '',
  };
}

const OPERATORS: Readonly<Record<string, string>> = { In: '=', NotIn: '!=' };

function fieldSelectorText(selector: ResourceAttributes['fieldSelector']): string {
  if (!selector) return '';
  if (selector.rawSelector) return selector.rawSelector;
  return (selector.requirements ?? []).flatMap(requirementText).join(',');
}

/** A requirement that a request cannot express narrows nothing here: the answer is that of the wider question. */
function requirementText({ key, operator, values = [] }: FieldSelectorRequirement): string[] {
  const sign = OPERATORS[operator];
  const [value, ...more] = values;
  if (!sign || value === undefined || more.length > 0) return [];
  return [`${key}${sign}${value.replaceAll(/[\\,=]/g, '\\$&')}`];
}
