import { boolean, type ConfigOf, choice, duration, integer, list } from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';
import { allowlistProblem } from '../../images/verification.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;

/** Pulling, verifying and collecting images. */
export const imagesFields = {
  registryPullQPS: integer(5),
  registryBurst: integer(10, { zeroIsUnset: true }),
  // True, unless maxParallelImagePulls is above 1.
  serializeImagePulls: boolean<boolean | undefined>(undefined),
  maxParallelImagePulls: integer(undefined, { min: 1 }),
  imageMinimumGCAge: duration(2 * MINUTE_MS),
  /** 0: however old. */
  imageMaximumGCAge: duration(0),
  /** 100: no collection for want of room. */
  imageGCHighThresholdPercent: integer(85, { max: 100 }),
  imageGCLowThresholdPercent: integer(80, { max: 100 }),
  imagePullCredentialsVerificationPolicy: choice('NeverVerifyPreloadedImages', [
    'NeverVerify',
    'NeverVerifyPreloadedImages',
    'NeverVerifyAllowlistedImages',
    'AlwaysVerify',
  ]),
  preloadedImagesVerificationAllowlist: list({
    accepts: 'whole image names without tags, or prefixes such as "registry.example/team/*"',
    valid: (pattern) => allowlistProblem(pattern) === undefined,
  }),
};

export function validateImages(config: ConfigOf<typeof imagesFields>, refuse: Refuse): void {
  const { imageGCHighThresholdPercent: high, imageGCLowThresholdPercent: low } = config;
  if (low >= high)
    refuse('imageGCLowThresholdPercent', low, `an integer below imageGCHighThresholdPercent, which is ${high}`);
  const { imageMaximumGCAgeMs: maximumMs, imageMinimumGCAgeMs: minimumMs } = config;
  if (maximumMs > 0 && maximumMs <= minimumMs)
    refuse(
      'imageMaximumGCAge',
      `${maximumMs / SECOND_MS}s`,
      `a duration above imageMinimumGCAge, which is ${minimumMs / SECOND_MS}s, or 0s for none`,
    );
  if (config.serializeImagePulls && (config.maxParallelImagePulls ?? 1) > 1)
    refuse('maxParallelImagePulls', config.maxParallelImagePulls, '1, unless serializeImagePulls is false');
  if (
    config.preloadedImagesVerificationAllowlist.length > 0 &&
    config.imagePullCredentialsVerificationPolicy !== 'NeverVerifyAllowlistedImages'
  )
    refuse(
      'preloadedImagesVerificationAllowlist',
      config.preloadedImagesVerificationAllowlist,
      'nothing, unless imagePullCredentialsVerificationPolicy is "NeverVerifyAllowlistedImages"',
    );
}

/** How many images are pulled at once: one where pulls are serialized, as they are unless maxParallelImagePulls is above 1. */
export function parallelImagePulls(config: ConfigOf<typeof imagesFields>): number {
  if (config.maxParallelImagePulls !== undefined) return config.maxParallelImagePulls;
  return config.serializeImagePulls === false ? Number.POSITIVE_INFINITY : 1;
}
