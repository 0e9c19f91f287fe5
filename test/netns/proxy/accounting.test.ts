import test from 'ava';
import { createNfacct } from '../../../src/netfilter/nfacct.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns } from '../../support/netns.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { createSources, createWorld, startProxy } from '../../support/proxy-world.ts';

const LOCALHOST_COUNTER = 'localhost_nps_accepted_pkts';
const INVALID_COUNTER = 'ct_state_invalid_dropped_pkts';

test('nfacct counters are made once, read, and taken away when no rule adds to them', async (t) => {
  const netns = await createTestNetns(t, 'nfacct');
  const nfacct = createNfacct(netns.path);
  t.is(await nfacct.packets('some'), undefined);
  t.true(await nfacct.ensure('some'));
  t.true(await nfacct.ensure('some'));
  t.is(await nfacct.packets('some'), 0n);
  await netns.run('iptables', ['-A', 'OUTPUT', '-m', 'nfacct', '--nfacct-name', 'some']);
  await nfacct.remove('some');
  t.is(await nfacct.packets('some'), 0n, 'a rule adds to it');
  await netns.run('iptables', ['-F', 'OUTPUT']);
  await nfacct.remove('some');
  await nfacct.remove('some');
  t.is(await nfacct.packets('some'), undefined);
});

test('connections to NodePorts at localhost are counted, and shown under the name of kube-proxy', async (t) => {
  const world = await createWorld(t);
  const nfacct = createNfacct(world.node.path);
  const sources = createSources();
  const ports = [{ port: 80, nodePort: 30080, protocol: 'TCP' as const }];
  sources.services.put(serviceOf('ns/web', '10.96.0.10', { type: 'NodePort', ports }));
  sources.endpointSlices.put(sliceOf('ns/web', ['10.244.0.11']));
  for (const source of Object.values(sources)) source.finishListing();
  const { proxy, stop } = startProxy(t, world.node.path, sources);
  const ask = () => world.host.ask({ protocol: 'tcp', host: '127.0.0.1', port: 30080 });
  await eventually('the node port answers at localhost', async () => (await ask()).startsWith('pod1'));
  const before = await nfacct.packets(LOCALHOST_COUNTER);
  for (let count = 0; count < 3; count++) await ask();
  t.is(await nfacct.packets(LOCALHOST_COUNTER), before! + 3n);

  const page = await fetch(`http://127.0.0.1:${proxy.addresses().get('metrics')!.port}/metrics`).then((got) =>
    got.text(),
  );
  const shown = /^kubeproxy_iptables_localhost_nodeports_accepted_packets_total (\d+)$/m.exec(page)?.[1];
  t.is(BigInt(shown ?? -1), before! + 3n);
  t.regex(page, /^kubeproxy_iptables_ct_state_invalid_dropped_packets_total \d+$/m);

  // One that runs on would take the clean-up for somebody else's doing, and repair it.
  await stop();
  await proxy.cleanup();
  for (const name of [LOCALHOST_COUNTER, INVALID_COUNTER]) t.is(await nfacct.packets(name), undefined, name);
});
