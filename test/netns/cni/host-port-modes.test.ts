/** Host ports beside every mode of the proxy, over a change of the mode, and after an administrator's flush. */
import test from 'ava';
import { eventually } from '../../support/eventually.ts';
import {
  attachHostPorts,
  lookAtHostPorts,
  putService,
  runProxy,
  serviceAnswers,
} from '../../support/host-port-story.ts';
import { NODE_ADDRESS } from '../../support/host-ports.ts';
import { createWorld } from '../../support/proxy-world.ts';

for (const writer of ['built-in', 'iptables', 'nftables'] as const)
  test.serial(
    `host ports of ${writer}: beside the proxy in each mode, over a change of it, and after a flush`,
    async (t) => {
      const world = await createWorld(t);
      const sources = putService();
      const scene = await attachHostPorts(t, world, writer);
      for (const mode of ['iptables', 'nftables', 'iptables', 'userspace']) {
        const stop = await runProxy(t, world, sources, mode);
        await lookAtHostPorts(t, world, scene, `mode ${mode}`);
        await stop();
      }
      await runProxy(t, world, sources, 'nftables');
      const isLost = async () =>
        !(await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 9090, timeoutMs: 300 })).startsWith(
          'pod3',
        );
      for (const flush of [
        ['iptables', '-t', 'nat', '-F'],
        ['nft', 'flush', 'ruleset'],
      ]) {
        await world.node.run(flush[0]!, flush.slice(1));
        t.is(await isLost(), writer === 'iptables' || flush[0] === 'nft');
        const again = scene.keep();
        await eventually('the host port is back', async () => !(await isLost()));
        await serviceAnswers(world);
        await lookAtHostPorts(t, world, scene, `after ${flush.join(' ')}`);
        await again();
      }
    },
  );
