import type { ImageSummary } from '../../src/docker/engine.ts';
import { type Clock, timestamp } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { matchCredentials, mergeCredentials, type PullCredentials } from './credential-mapping.ts';
import type { Credential } from './keyring.ts';
import type { ImageMetrics } from './metrics.ts';
import { isSameReference, repositoryOf } from './name.ts';
import type { PulledRecord, PullRecords } from './pull-records.ts';
import { mustVerify, type VerificationOptions } from './verification.ts';

/** Who may use the images that are on the node (`imagePullCredentialsVerificationPolicy`, KEP-2535). */
export interface ImageAccess {
  /** Whether the pod must pull though the image is here, to show that it may. Credentials are asked for only when they decide. */
  mustPull(image: string, imageRef: string, credentials: () => Promise<Credential[]>): Promise<boolean>;
  /** Before a pull: a crash in the middle must not make the image look preloaded. */
  pullBegins(image: string): Promise<void>;
  pullSucceeded(image: string, imageRef: string, used: PullCredentials): Promise<void>;
  pullFailed(image: string): Promise<void>;
  /** At the start: pulls that were cut off by the agent's end, but came through in the Engine, are known, by nobody's credentials. */
  recover(images: readonly ImageSummary[]): Promise<void>;
  /** Drops the records of images that are gone, unless they are younger than `listedAtMs` (wall time), when the list was made. */
  prune(images: readonly ImageSummary[], listedAtMs: number): Promise<void>;
}

export interface ImageAccessDependencies {
  records: PullRecords;
  metrics: Pick<ImageMetrics, 'verified'>;
  clock: Clock;
  log: Logger;
}

export function createImageAccess(options: VerificationOptions, deps: ImageAccessDependencies): ImageAccess {
  const { records, clock, log } = deps;
  /** Pulls under way of each image. */
  const intents = new Map<string, number>();
  const locked = createLocks();

  async function learn(image: string, imageRef: string, more: PullCredentials | undefined): Promise<void> {
    const repository = repositoryOf(image);
    await locked(imageRef, async () => {
      const known = await readOrNothing(imageRef);
      const merged = more && mergeCredentials(known?.credentialMapping[repository], more);
      if (known && !merged) return;
      await records.writePulled({
        lastUpdatedTime: timestamp(clock.nowMs()),
        imageRef,
        credentialMapping: { ...known?.credentialMapping, ...(merged && { [repository]: merged }) },
      });
    });
  }

  async function readOrNothing(imageRef: string): Promise<PulledRecord | undefined> {
    try {
      return await records.pulled(imageRef);
    } catch (error) {
      log.warn({ err: error, imageRef }, 'a record of an image pull is unreadable and will be written anew');
      return undefined;
    }
  }

  async function endIntent(image: string): Promise<void> {
    const left = (intents.get(image) ?? 1) - 1;
    if (left > 0) {
      intents.set(image, left);
      return;
    }
    intents.delete(image);
    await records.deleteIntent(image);
  }

  return {
    async mustPull(image, imageRef, credentials) {
      let record: PulledRecord | undefined;
      let pulledByUs: boolean;
      try {
        record = await records.pulled(imageRef);
        pulledByUs = record !== undefined || intents.has(image) || (await records.hasIntent(image));
      } catch (error) {
        log.warn({ err: error, image }, 'records of image pulls cannot be read: the image must be pulled again');
        deps.metrics.verified('error');
        return true;
      }
      if (!mustVerify(options, image, pulledByUs)) {
        deps.metrics.verified('credentialPolicyAllowed');
        return false;
      }
      const recorded = record?.credentialMapping[repositoryOf(image)];
      const isOpen = recorded?.nodePodsAccessible ?? false;
      const match = recorded && matchCredentials(recorded, isOpen ? [] : await credentials());
      if (!match) {
        deps.metrics.verified('mustAuthenticate');
        return true;
      }
      deps.metrics.verified('credentialRecordFound');
      if (match.learned)
        await learn(image, imageRef, match.learned).catch((error) =>
          log.warn({ err: error, image }, 'a record of an image pull could not be written'),
        );
      return false;
    },

    async pullBegins(image) {
      intents.set(image, (intents.get(image) ?? 0) + 1);
      try {
        await records.writeIntent(image);
      } catch (error) {
        await endIntent(image).catch(() => {});
        throw new Error(`failed to record image pull intent: ${(error as Error).message}`, { cause: error });
      }
    },

    async pullSucceeded(image, imageRef, used) {
      try {
        await learn(image, imageRef, used);
      } catch (error) {
        // The intent stays: the image is still known as one that we pulled, and the next start tries again.
        log.warn({ err: error, image, imageRef }, 'the record of an image pull could not be written');
        return;
      }
      await this.pullFailed(image);
    },

    async pullFailed(image) {
      await endIntent(image).catch((error) => log.warn({ err: error, image }, 'an image pull intent stays'));
    },

    async recover(images) {
      for (const image of await records.listIntents()) {
        if (intents.has(image)) continue;
        const found = images.find(({ repoTags, repoDigests }) =>
          [...repoTags, ...repoDigests].some((name) => isSameReference(name, image)),
        );
        if (!found) continue;
        await learn(image, found.id, undefined);
        await records.deleteIntent(image);
      }
    },

    async prune(images, listedAtMs) {
      const present = new Set(images.map(({ id }) => id));
      for (const { imageRef, lastUpdatedTime } of await records.listPulled())
        if (!present.has(imageRef) && Date.parse(lastUpdatedTime) < listedAtMs - CLOCK_GRAIN_MS)
          await locked(imageRef, () => records.deletePulled(imageRef));
    },
  };
}

/** Records carry whole seconds. */
const CLOCK_GRAIN_MS = 1000;

/** One at a time for each key. */
function createLocks() {
  const tails = new Map<string, Promise<unknown>>();
  return async function locked<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = tails.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (tails.get(key) === mine) tails.delete(key);
    }
  };
}
