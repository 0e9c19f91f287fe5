import type { UserInfo } from './user.ts';

/** Answers who a bearer token stands for; undefined for one that it does not know. */
export interface TokenAuthenticator {
  /** Throws `TokenRefusedError` for a token that is its to judge and not, or no longer, good. */
  authenticate(token: string): UserInfo | undefined | Promise<UserInfo | undefined>;
}

/** Why a token is refused. For the log and for TokenReviews; whoever sent the token only learns that it was. */
export class TokenRefusedError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TokenRefusedError';
  }
}
