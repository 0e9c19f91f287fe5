import { boolean, type ConfigOf, choice, deferred, duration, integer, list } from '../../../src/config/field.ts';
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
  imageMinimumGCAge: deferred(duration(2 * MINUTE_MS)),
  imageMaximumGCAge: deferred(duration(0)),
  imageGCHighThresholdPercent: deferred(integer(85, { max: 100 })),
  imageGCLowThresholdPercent: deferred(integer(80, { max: 100 })),
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
