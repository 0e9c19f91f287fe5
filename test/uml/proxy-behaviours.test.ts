/** The table of behaviours (test/support/proxy-behaviours.ts) on the mode that only this kernel has. */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { prepareGuest } from '../support/ipvs.ts';
import { BEHAVIOUR_NODE } from '../support/proxy-behaviours.ts';
import { runBehaviours } from '../support/proxy-behaviours-run.ts';
import { createSources, createWorld, eventually, startProxy } from '../support/proxy-world.ts';

test.before(prepareGuest);

test.serial('ipvs: the table of behaviours, by real traffic', async (t) => {
  const world = await createWorld(t);
  // Refusals are many here, and all for the same few clients.
  writeSysctl('net.ipv4.icmp_ratelimit', '0', { netns: world.node.path });
  const sources = createSources();
  sources.nodes.put(BEHAVIOUR_NODE);
  let isStarted = false;
  await runBehaviours(t, 'ipvs', world, {
    put(services, slices) {
      sources.services.put(...services);
      sources.endpointSlices.put(...slices);
    },
    remove(services) {
      for (const service of services) sources.services.remove(service);
    },
    async synced() {
      // Later changes are waited for by what is asked.
      if (isStarted) return sleep(500);
      isStarted = true;
      for (const source of Object.values(sources)) source.finishListing();
      startProxy(t, world.node.path, sources, { mode: 'ipvs' }, undefined, ['IPv4']);
      const hasLink = async () => (await world.node.ip('addr', 'show')).includes('kube-ipvs0');
      await eventually('the first sync', hasLink, 60_000);
    },
  });
});
