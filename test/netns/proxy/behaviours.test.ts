import test, { type ExecutionContext } from 'ava';
import type { ModeName } from '../../../proxy/mode.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { eventually } from '../../support/eventually.ts';
import { BEHAVIOUR_NODE } from '../../support/proxy-behaviours.ts';
import { runBehaviours } from '../../support/proxy-behaviours-run.ts';
import { createSources, createWorld, type RunningProxy, startProxy } from '../../support/proxy-world.ts';

const MODES: readonly ModeName[] = ['iptables', 'nftables', 'userspace'];

for (const mode of MODES)
  test.serial(`${mode}: the table of behaviours, by real traffic`, async (t: ExecutionContext) => {
    const world = await createWorld(t);
    // Refusals are many here, and all for the same few clients.
    writeSysctl('net.ipv4.icmp_ratelimit', '0', { netns: world.node.path });
    const sources = createSources();
    sources.nodes.put(BEHAVIOUR_NODE);
    let running: RunningProxy | undefined;
    await runBehaviours(t, mode, world, {
      put(services, slices) {
        sources.services.put(...services);
        sources.endpointSlices.put(...slices);
      },
      remove(services) {
        for (const service of services) sources.services.remove(service);
      },
      async synced() {
        if (running) return;
        for (const source of Object.values(sources)) source.finishListing();
        running = startProxy(t, world.node.path, sources, {
          mode,
          'nftables.minSyncPeriod': '1ms',
          'nftables.syncPeriod': '500ms',
        });
        await eventually('the first sync', () => isSynced(running!));
      },
    });
  });

async function isSynced({ proxy }: RunningProxy): Promise<boolean> {
  const address = proxy.addresses().get('metrics');
  if (!address) return false;
  const text = await (await fetch(`http://127.0.0.1:${address.port}/metrics`)).text();
  return /sync_proxy_rules_last_timestamp_seconds\{ip_family="IPv4"\} [1-9]/.test(text);
}
