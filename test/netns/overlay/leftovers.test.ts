/** What is left of an overlay elsewhere than in links and routes. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import test from 'ava';
import { removeOverlay } from '../../../cni/overlay/remove.ts';
import { PRIVATE_KEY_FILE } from '../../../cni/overlay/wireguard/options.ts';
import { run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createTestNetns } from '../../support/netns.ts';

test("R17: the node's WireGuard key goes with its overlay, a half-written one too, and then the folder", async (t) => {
  const { path } = await createTestNetns(t, 'host');
  const subnetFile = `${dirname(PRIVATE_KEY_FILE)}/subnet.env`;
  mkdirSync(dirname(PRIVATE_KEY_FILE), { recursive: true });
  for (const file of [PRIVATE_KEY_FILE, `${PRIVATE_KEY_FILE}.new`, subnetFile]) writeFileSync(file, 'left');
  const deps = { log: silentLogger, clock: systemClock, run, hostNetns: path };
  await removeOverlay({ subnetFile, ownOnly: true }, deps);
  t.false(existsSync(dirname(PRIVATE_KEY_FILE)));
  await t.notThrowsAsync(removeOverlay({ subnetFile, ownOnly: true }, deps));
});
