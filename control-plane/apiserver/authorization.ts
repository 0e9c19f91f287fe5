import type { UserInfo } from '../../src/auth/user.ts';

export type { UserInfo };

/** What is asked, as the request's method and path say it (sheet §1 verb mapping, §13). */
export interface AuthorizationAttributes {
  readonly user: UserInfo;
  /** get list watch create update patch delete deletecollection; for non-resource paths the lower-case method. */
  readonly verb: string;
  /** False for paths such as /healthz; then only `verb` and `path` count. */
  readonly resourceRequest: boolean;
  readonly path: string;
  readonly apiGroup: string;
  readonly apiVersion: string;
  readonly resource: string;
  readonly subresource: string;
  /** '' for cluster-scoped kinds and for all namespaces. */
  readonly namespace: string;
  /** '' for collections; a list or watch whose fieldSelector is metadata.name=X carries X. */
  readonly name: string;
  /** As the client sent them; '' when absent. */
  readonly fieldSelector: string;
  readonly labelSelector: string;
}

export interface AuthorizationDecision {
  readonly allowed: boolean;
  /** For the log, for SubjectAccessReviews, and at the end of a 403's message. */
  readonly reason: string;
}

/** Deny by default: whatever no rule allows is refused. */
export interface Authorizer {
  authorize(attributes: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision>;
}
