/** kill -9 inside every step of an overlay's start, of its changes and of its removal, for each backend that this kernel has (others: uml, guest). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { installBird } from '../../support/bird.ts';
import { makeCrashChild } from '../../support/overlay-crash-program.ts';
import { makeScene } from '../../support/overlay-crash-scene.ts';
import { tellCrashStory } from '../../support/overlay-crash-story.ts';
import { createOverlaySwitch } from '../../support/overlay-hosts.ts';

const isFull = process.env['BERTH_TEST_FULL'] === '1';
const folder = mkdtempSync(join(tmpdir(), 'overlay-crash-'));
const child = makeCrashChild(folder);
const bird = installBird(folder);
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

/** Of all parts; less would mean that steps are not seen. */
const LEAST_STEPS = 15;
/** Each, and whose place it takes in one of the parts. */
const EARLIER = { 'host-gw': 'bgp', udp: 'vxlan', bgp: 'host-gw', vxlan: 'udp', alloc: 'host-gw' } as const;
/** The rest with --full: they share what these do, and vxlan has a test of its own beside this one. */
const ALWAYS = ['host-gw', 'bgp'];

for (const [type, earlier] of Object.entries(EARLIER)) {
  const needsBird = type === 'bgp' || earlier === 'bgp';
  const missing = needsBird && !bird ? 'no BIRD' : isFull || ALWAYS.includes(type) ? undefined : 'with --full only';
  const title = `${type}: killed in its start, in changes, in its removal, or when it takes the place of ${earlier}`;
  (missing ? test.skip : test.serial)(missing ? `${title} (${missing})` : title, async (t) => {
    t.timeout(3_600_000);
    const { path, number } = await (await createOverlaySwitch(t)).addHost(1);
    const node = { host: { path, number }, directory: mkdtempSync(join(folder, 'node-')), rules: true };
    const sceneOf = (backend: string) => makeScene(node, backend, backend === 'bgp' ? { BirdProgram: bird } : {});
    const counts = await tellCrashStory({
      scene: sceneOf(type),
      earlier: sceneOf(earlier),
      child: await child,
      stride: isFull ? 1 : 17,
    });
    t.true(Object.values(counts).reduce((one, other) => one + other, 0) >= LEAST_STEPS, JSON.stringify(counts));
    t.log(JSON.stringify(counts));
  });
}
