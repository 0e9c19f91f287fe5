/** The crash story of backend wireguard, on a kernel that has it: run in a guest, says how many steps each part has. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeScene } from './overlay-crash-scene.ts';
import { tellCrashStory } from './overlay-crash-story.ts';
import { createOverlaySwitch } from './overlay-hosts.ts';

const folder = mkdtempSync(join(tmpdir(), 'overlay-crash-'));
// The guest goes with all that is in it.
const { path, number } = await (await createOverlaySwitch({ teardown() {} })).addHost(1);
const node = { host: { path, number }, directory: folder, rules: false };
const counts = await tellCrashStory({
  scene: makeScene(node, 'wireguard'),
  earlier: makeScene(node, 'host-gw'),
  child: [process.execPath, join(import.meta.dirname, 'overlay-step-child.mjs')],
  stride: Number(process.argv[2]),
});
process.stdout.write(`${JSON.stringify(counts)}\nall done\n`);
process.exit(0);
