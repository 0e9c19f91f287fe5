/** Host ports of a pod on a node whose proxy is in mode ipvs, and over changes from and to it. */
import test from 'ava';
import { eventually } from '../support/eventually.ts';
import { attachHostPorts, lookAtHostPorts, putService, runProxy, serviceAnswers } from '../support/host-port-story.ts';
import { NODE_ADDRESS } from '../support/host-ports.ts';
import { prepareGuest } from '../support/ipvs.ts';
import { createWorld } from '../support/proxy-world.ts';

const full = process.env['BERTH_TEST_FULL'] === '1' ? test.serial : test.serial.skip;

test.before(prepareGuest);

full(
  'host ports by iptables beside mode ipvs, over a change of the mode, and after a flush (only with --full)',
  async (t) => {
    t.timeout(240_000);
    const world = await createWorld(t);
    const sources = putService();
    const scene = await attachHostPorts(t, world, 'iptables');
    let stop = async () => {};
    for (const mode of ['ipvs', 'iptables', 'ipvs']) {
      await stop();
      stop = await runProxy(t, world, sources, mode, ['IPv4']);
      await lookAtHostPorts(t, world, scene, `mode ${mode}`);
    }
    await world.node.run('iptables', ['-t', 'nat', '-F']);
    const isThere = async () =>
      (await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 9090, timeoutMs: 300 })).startsWith('pod3');
    t.false(await isThere());
    scene.keep();
    await eventually('the host port is back', isThere);
    await serviceAnswers(world);
    await lookAtHostPorts(t, world, scene, 'after a flush');
  },
);
