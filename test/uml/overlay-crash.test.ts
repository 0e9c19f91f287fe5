/** kill -9 inside every step of an overlay with backend ipip, whose device the machines that run tests mostly lack. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { makeCrashChild } from '../support/overlay-crash-program.ts';
import { makeScene } from '../support/overlay-crash-scene.ts';
import { tellCrashStory } from '../support/overlay-crash-story.ts';
import { createOverlaySwitch } from '../support/overlay-hosts.ts';

/** Of all parts; less would mean that steps are not seen. */
const LEAST_STEPS = 15;
const isFull = process.env['BERTH_TEST_FULL'] === '1';
const title = 'ipip: killed in its start, in changes, in its removal, or when it takes the place of host-gw';

(isFull ? test : test.skip)(isFull ? title : `${title} (with --full only)`, async (t) => {
  t.timeout(3_600_000);
  const folder = mkdtempSync(join(tmpdir(), 'overlay-crash-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const { path, number } = await (await createOverlaySwitch(t)).addHost(1);
  const node = { host: { path, number }, directory: mkdtempSync(join(folder, 'node-')), rules: false };
  const counts = await tellCrashStory({
    scene: makeScene(node, 'ipip'),
    earlier: makeScene(node, 'host-gw'),
    child: await makeCrashChild(folder),
    stride: 1,
  });
  t.true(Object.values(counts).reduce((one, other) => one + other, 0) >= LEAST_STEPS, JSON.stringify(counts));
  t.log(JSON.stringify(counts));
});
