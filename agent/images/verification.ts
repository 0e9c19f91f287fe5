import { imageNameProblem, parseImageName, repositoryOf } from './name.ts';

/** `imagePullCredentialsVerificationPolicy`. */
export type VerificationPolicy =
  | 'NeverVerify'
  | 'NeverVerifyPreloadedImages'
  | 'NeverVerifyAllowlistedImages'
  | 'AlwaysVerify';

export interface VerificationOptions {
  policy: VerificationPolicy;
  /** `preloadedImagesVerificationAllowlist`; checked before by allowlistProblem. */
  allowlist: readonly string[];
}

/**
 * Whether a pod must show that it may pull an image that is on the node already (KEP-2535).
 * @param pulledByUs a record of ours says that the image came through a pull of this agent
 */
export function mustVerify({ policy, allowlist }: VerificationOptions, image: string, pulledByUs: boolean): boolean {
  switch (policy) {
    case 'NeverVerify':
      return false;
    case 'NeverVerifyPreloadedImages':
      return pulledByUs;
    case 'NeverVerifyAllowlistedImages':
      return !isAllowlisted(allowlist, image);
    case 'AlwaysVerify':
      return true;
  }
}

function isAllowlisted(allowlist: readonly string[], image: string): boolean {
  const repository = repositoryOf(image);
  return allowlist.some((pattern) =>
    pattern.endsWith('/*') ? repository.startsWith(pattern.slice(0, -1)) : repository === pattern,
  );
}

/** Why a pattern of the allowlist is refused, else undefined: whole names without tag, or a prefix before `/*`. */
export function allowlistProblem(pattern: string): string | undefined {
  if (pattern !== pattern.trim()) return 'leading/trailing spaces are not allowed';
  const isPrefix = pattern.endsWith('/*');
  const rest = isPrefix ? pattern.slice(0, -1) : pattern;
  if (rest === '') return 'the pattern is too short';
  if (rest.includes('*')) return "only patterns ending with '/*' are allowed";
  if (isPrefix) return rest === '/' ? 'at least a registry host name is required' : undefined;
  const problem = imageNameProblem(pattern);
  if (problem) return problem;
  const { tag, digest } = parseImageName(pattern)!;
  if (tag || digest) return 'neither tag nor digest is accepted';
  return repositoryOf(pattern) === pattern ? undefined : `the whole name is needed: ${repositoryOf(pattern)}`;
}
