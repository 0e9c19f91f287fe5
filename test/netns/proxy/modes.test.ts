import { createServer } from 'node:net';
import test from 'ava';
import { listenTcp } from '../../../src/linux/netns-listen.ts';
import { eventually } from '../../support/eventually.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { createSources, createWorld, type RunningProxy, startProxy } from '../../support/proxy-world.ts';

const VIP = '10.96.0.10';

async function metric({ proxy }: RunningProxy, line: RegExp): Promise<boolean> {
  const address = proxy.addresses().get('metrics');
  if (!address) return false;
  return line.test(await (await fetch(`http://127.0.0.1:${address.port}/metrics`)).text());
}
async function synced(running: RunningProxy): Promise<void> {
  for (const family of ['IPv4', 'IPv6'])
    await eventually(`the first sync of ${family}`, () =>
      metric(running, new RegExp(`conntrack_reconciler_sync_duration_seconds_count\\{ip_family="${family}"\\} [1-9]`)),
    );
}

/** Whose rules are in the kernel. */
const MARKS = { iptables: /KUBE-SERVICES/, userspace: /kube-proxy-userspace/, nftables: /table ip kube-proxy \{/ };
type Mode = keyof typeof MARKS;

test('switching modes: the service answers all the time, and no rule of the mode before is left', async (t) => {
  const world = await createWorld(t);
  const sources = createSources();
  sources.services.put(serviceOf('ns/web', VIP));
  sources.endpointSlices.put(sliceOf('ns/web', ['10.244.0.11']));
  for (const source of Object.values(sources)) source.finishListing();
  const ask = () => world.pods[1].ask({ protocol: 'tcp', host: VIP, port: 80 });
  const ruleset = () => world.node.run('nft', ['list', 'ruleset']);
  let running: RunningProxy | undefined;
  for (const mode of ['iptables', 'userspace', 'nftables', 'iptables'] satisfies Mode[]) {
    await running?.stop();
    running = startProxy(t, world.node.path, sources, { mode, 'nftables.minSyncPeriod': '1ms' });
    await synced(running);
    t.is(running.proxy.mode(), mode);
    t.regex(await ask(), /^pod1/);
    await eventually(`${mode} alone stands`, async () => {
      const rules = await ruleset();
      return Object.entries(MARKS).every(([name, mark]) => mark.test(rules) === (name === mode));
    });
    t.regex(await ask(), /^pod1/);
  }
  await running!.stop();
  await running!.proxy.cleanup();
  t.notRegex(await ruleset(), /KUBE|kube/);
  await running!.proxy.cleanup();
});

test('auto takes the best mode that the kernel proves to have', async (t) => {
  const world = await createWorld(t);
  const sources = createSources();
  for (const source of Object.values(sources)) source.finishListing();
  const running = startProxy(t, world.node.path, sources, { mode: 'auto' });
  await synced(running);
  t.is(running.proxy.mode(), 'nftables');
});

test('a node port on which a process of the node listens stays with the process, and is the Service’s when it ends', async (t) => {
  const world = await createWorld(t);
  const server = createServer((socket) => socket.end('the process\n'));
  t.teardown(() => server.close());
  await new Promise<void>((resolve) => server.listen({ fd: listenTcp(world.node.path, '0.0.0.0', 30080) }, resolve));
  const sources = createSources();
  sources.services.put(
    serviceOf('ns/web', VIP, { type: 'NodePort', ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }] }),
  );
  sources.endpointSlices.put(sliceOf('ns/web', ['10.244.0.11']));
  for (const source of Object.values(sources)) source.finishListing();
  const running = startProxy(t, world.node.path, sources);
  await synced(running);
  t.true(await metric(running, /berth_proxy_skipped_inputs\{ip_family="IPv4",reason="NodePortInUse"\} 1/));
  const ask = () => world.client.ask({ protocol: 'tcp', host: '192.168.50.1', port: 30080 });
  t.is((await ask()).trim(), 'the process');
  t.regex(await world.pods[1].ask({ protocol: 'tcp', host: VIP, port: 80 }), /^pod1/, 'the rest is served');
  await new Promise((resolve) => server.close(resolve));
  await eventually('the node port is served', async () => (await ask()).startsWith('pod1'));
});
