/**
 * Runs a node's overlay and kills itself right before its step number N; exits 0 when there are fewer. What it is killed in:
 *
 *     start     a start that finds whatever is there
 *     change    nodes that come, go and change while it runs
 *     remove    `--cleanup`
 *
 *     node overlay-step-child.ts start|change|remove N SCENE
 */
import { killAtStep } from './kill-at-step.ts';
import type { CrashScene } from './overlay-crash-scene.ts';

const [work, number, text] = process.argv.slice(2) as ['start' | 'change' | 'remove', string, string];
const scene = JSON.parse(text) as CrashScene;
const steps = await killAtStep(Number(number));
const { allDone, changeNodes, openApi, startScene, subnetFile } = await import('./overlay-crash-scene.ts');

if (work === 'remove') {
  const { removeOverlay } = await import('../../cni/overlay/remove.ts');
  const { run } = await import('../../src/linux/exec.ts');
  const { systemClock } = await import('../../src/runtime/clock.ts');
  const { silentLogger } = await import('../../src/runtime/log.ts');
  steps.arm();
  await removeOverlay(
    { subnetFile: subnetFile(scene.directory), ownOnly: false },
    { log: silentLogger, clock: systemClock, run, hostNetns: scene.host.path },
  );
  process.exit(0);
}

const { client, save } = openApi(scene, work === 'change' ? 'before' : 'after');
const patch = client.patch;
client.patch = (async (...args: Parameters<typeof patch>) => {
  steps.step();
  const answer = await patch(...args);
  steps.uncounted(save);
  return answer;
}) as typeof patch;
if (work === 'start') steps.arm();
const overlay = await startScene({ teardown() {} }, scene, client);
await allDone(overlay);
if (work === 'change') {
  steps.arm();
  await changeNodes(scene, client);
  await allDone(overlay);
}
process.exit(0);
