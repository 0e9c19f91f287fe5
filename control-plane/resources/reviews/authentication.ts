import { TokenRefusedError } from '../../../src/auth/token-authenticator.ts';
import type { UserInfo } from '../../../src/auth/user.ts';
import type {
  SelfSubjectReview,
  TokenReview,
  TokenReviewStatus,
} from '../../../src/kube/schema/generated/types/authentication-v1.ts';
import type { KubeObject } from '../../../src/kube/types.ts';
import type { ResourceDefinition } from '../../apiserver/definition.ts';
import { badRequest } from '../../apiserver/status-error.ts';
import { defineReview } from './define-review.ts';

/** What a TokenReview needs; service-accounts/token-authenticator.ts has it. */
export interface TokenVerifier {
  /** Undefined for a token of somebody else; throws `TokenRefusedError` for a bad one. */
  verify(
    token: string,
    audiences: readonly string[],
  ): Promise<{ readonly user: UserInfo; readonly audiences: readonly string[] } | undefined>;
  /** What a token is asked to be for when the review names nothing. */
  readonly apiAudiences: readonly string[];
}

/** authentication.k8s.io/v1: who am I, and whose token is this. */
export function authenticationReviews(tokens: TokenVerifier): ResourceDefinition[] {
  return [
    defineReview<SelfSubjectReview>({
      group: 'authentication.k8s.io',
      kind: 'SelfSubjectReview',
      plural: 'selfsubjectreviews',
      answer: (_review, { context }) => ({ userInfo: wireUser(context.user) }),
    }),
    defineReview<TokenReview>({
      group: 'authentication.k8s.io',
      kind: 'TokenReview',
      plural: 'tokenreviews',
      answer: (review) => reviewToken(review, tokens),
    }),
  ] as unknown as ResourceDefinition<KubeObject>[];
}

async function reviewToken({ spec }: TokenReview, tokens: TokenVerifier): Promise<TokenReviewStatus> {
  if (!spec?.token) throw badRequest('token is required for TokenReview in authentication');
  const audiences = spec.audiences?.length ? spec.audiences : tokens.apiAudiences;
  try {
    const verified = await tokens.verify(spec.token, audiences);
    if (!verified) return { user: {}, error: 'invalid bearer token' };
    const user = { ...verified.user, groups: [...verified.user.groups, 'system:authenticated'] };
    return { authenticated: true, user: wireUser(user), audiences: [...verified.audiences] };
  } catch (error) {
    if (!(error instanceof TokenRefusedError)) throw error;
    return { user: {}, error: `[invalid bearer token, ${error.message}]` };
  }
}

function wireUser({ username, uid, groups, extra }: UserInfo) {
  return {
    username,
    ...(uid && { uid }),
    groups: [...groups],
    ...(extra && { extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, [...values]])) }),
  };
}
