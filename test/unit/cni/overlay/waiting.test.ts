import test from 'ava';
import { annotationKeys } from '../../../../cni/overlay/annotations.ts';
import { netConfOf } from '../../../../cni/overlay/net-conf.ts';
import { createOverlay } from '../../../../cni/overlay/overlay.ts';
import { run } from '../../../../src/linux/exec.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

test('an API server that is away at the start is waited for: the overlay is not ready, and not dead', async (t) => {
  const clock = createFakeClock();
  let beats = 0;
  const nobody = async () => t.fail('nothing is written before the list of nodes') as never;
  const overlay = createOverlay(
    {
      nodeName: 'a',
      conf: netConfOf('10.244.0.0/16', 'host-gw', 'test'),
      keys: annotationKeys(),
      uplink: { ifaces: [], ifaceRegexes: [], publicIps: {}, nodeIps: [], preferNodeIps: false },
      ipMasq: false,
      blackholeRoute: false,
      setNetworkUnavailable: true,
      takeOver: false,
    },
    {
      backend: { type: 'host-gw', ensure: nobody, sync: nobody, remove: nobody, close() {} },
      nodes: {
        synced: (signal) =>
          new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true })),
        get: () => undefined,
        subscribe: () => () => {},
      },
      client: { patch: nobody },
      traffic: { ensure: nobody, remove: nobody },
      run,
      log: silentLogger,
      clock,
      heartbeat: () => {
        beats++;
      },
    },
  );
  const controller = new AbortController();
  const running = overlay.run(controller.signal);
  await clock.advance(60_000);
  t.true(beats >= 6, `${beats} heartbeats in a minute`);
  t.is(overlay.state().reason, 'the list of nodes');
  controller.abort();
  await running;
});
