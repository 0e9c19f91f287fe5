import { removeOverlay } from '../../cni/overlay/remove.ts';
import { run } from '../../src/linux/exec.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { createSteps } from '../output/steps.ts';
import { checkRoot } from '../preflight/checks.ts';
import { type OverlayFlags, overlayHostState, prepareStandaloneOverlay } from '../roots/standalone-overlay.ts';
import { serve, type Verbose } from './serve.ts';

/** `berth overlay`, and its `--cleanup`. What the daemon made stays when it ends. */
export async function runOverlayDaemon(flags: OverlayFlags & Verbose & { cleanup?: boolean }): Promise<void> {
  if (!flags.cleanup) return serve('overlay', flags, (context) => prepareStandaloneOverlay(flags, context));
  checkRoot('overlay');
  const steps = createSteps();
  const { subnetFile } = flags;
  await steps.run("the overlay's links, routes and rules removed, sysctls restored", () =>
    runAll('berth overlay --cleanup', [
      () => removeOverlay({ subnetFile, ownOnly: false }, { log: silentLogger, clock: systemClock, run }),
      () => overlayHostState(flags.rootDir).restore(),
    ]),
  );
}
