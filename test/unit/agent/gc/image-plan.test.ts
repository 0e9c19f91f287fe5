import test from 'ava';
import {
  computeBytesToFree,
  type ImageRecord,
  selectImages,
  selectOldImages,
} from '../../../../agent/gc/image-plan.ts';

const policy = { highThresholdPercent: 85, lowThresholdPercent: 80, minimumAgeMs: 120_000, maximumAgeMs: 0 };
const MINUTE_MS = 60_000;

const image = (id: string, more: Partial<ImageRecord> = {}): ImageRecord => ({
  id,
  names: [`${id}:1`],
  sizeBytes: 100,
  firstSeenMs: 0,
  lastUsedMs: undefined,
  isInUse: false,
  ...more,
});

for (const [availableBytes, high, low, wanted, why] of [
  [1000, 85, 80, 0, 'an empty disk'],
  [160, 85, 80, 0, '84 % is under the threshold'],
  [150, 85, 80, 50, '85 % reaches it: down to 80 %'],
  [155, 85, 80, 45, 'a broken percent counts as the next: 84.5 % is 85 %'],
  [0, 85, 80, 200, 'a full disk'],
  [0, 100, 99, 0, '100 switches it off'],
  [1, 99, 0, 999, 'a low threshold of 0 wants all'],
  [5000, 85, 80, 0, 'more room than there is'],
] as const)
  test(`of 1000 bytes ${availableBytes} are available, ${high}/${low}: ${wanted} must go (${why})`, (t) => {
    const thresholds = { ...policy, highThresholdPercent: high, lowThresholdPercent: low };
    t.is(computeBytesToFree({ capacityBytes: 1000, availableBytes }, thresholds), wanted);
  });

test('images go in the order of their use: never used ones by the age of their sight, then the longest unused', (t) => {
  const images = [
    image('used-late', { lastUsedMs: 500 }),
    image('used-early', { lastUsedMs: 400, firstSeenMs: 10 }),
    image('in-use', { lastUsedMs: 900, isInUse: true }),
    image('never-new', { firstSeenMs: 300 }),
    image('never-old', { firstSeenMs: 20 }),
    image('used-early-too', { lastUsedMs: 400, firstSeenMs: 5 }),
  ];
  t.deepEqual(
    selectImages(images, { minimumAgeMs: 0 }, 1000).map(({ id }) => id),
    ['never-old', 'never-new', 'used-early-too', 'used-early', 'used-late'],
  );
});

test('an image that was first seen less than the minimum age ago stays', (t) => {
  const images = [image('young', { firstSeenMs: 1 }), image('old', { firstSeenMs: 0 })];
  t.deepEqual(
    selectImages(images, policy, 2 * MINUTE_MS).map(({ id }) => id),
    ['old'],
  );
});

test('too old is what was not used, or never used and not seen, for longer than the maximum age', (t) => {
  const images = [
    image('never', { firstSeenMs: 0 }),
    image('never-new', { firstSeenMs: 50 * MINUTE_MS }),
    image('used', { firstSeenMs: 0, lastUsedMs: 39 * MINUTE_MS }),
    image('used-late', { firstSeenMs: 0, lastUsedMs: 40 * MINUTE_MS }),
  ];
  const old = (maximumAgeMs: number) => selectOldImages(images, { maximumAgeMs }, 100 * MINUTE_MS).map(({ id }) => id);
  t.deepEqual(old(60 * MINUTE_MS), ['never', 'used']);
  t.deepEqual(old(0), [], '0 switches it off');
});
