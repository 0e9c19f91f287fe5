import test, { type ExecutionContext } from 'ava';
import type { ModeName } from '../../../proxy/mode.ts';
import { readSysctl, writeSysctl } from '../../../src/linux/sysctl.ts';
import { eventually } from '../../support/eventually.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { BEHAVIOUR_NODE } from '../../support/proxy-behaviours.ts';
import { createSources, createWorld, type RunningProxy, startProxy } from '../../support/proxy-world.ts';

const VIP = '10.96.0.53';
const [POD_1, POD_2] = ['10.244.0.11', '10.244.0.12'];
const DNS = { name: 'dns', port: 53, nodePort: 30053, protocol: 'UDP' as const };
const PORTS = [{ name: 'dns', port: 5353, protocol: 'UDP' as const }];
const ASK = { protocol: 'udp', host: VIP, port: 53, localPort: 45001, timeoutMs: 300 } as const;
const KERNEL_MODES: readonly ModeName[] = ['iptables', 'nftables'];

async function setUp(t: ExecutionContext, mode: ModeName) {
  const world = await createWorld(t);
  const sources = createSources();
  sources.services.put(serviceOf('ns/dns', VIP, { type: 'NodePort', ports: [DNS] }));
  sources.nodes.put(BEHAVIOUR_NODE);
  for (const source of Object.values(sources)) source.finishListing();
  const start = async () => {
    const running = startProxy(t, world.node.path, sources, { mode, 'nftables.minSyncPeriod': '1ms' });
    await eventually('a sync and what follows it', () => hasSynced(running));
    return running;
  };
  /** The kernel's entries of the client's flow, with their ids. */
  const flows = async () =>
    (await world.node.run('conntrack', ['-L', '-p', 'udp', '-o', 'id', '--orig-dst', VIP]))
      .split('\n')
      .filter(Boolean)
      .map((line) => `${/src=(\S+) dst=\S+ sport=5353/.exec(line)?.[1]} ${/id=(\d+)/.exec(line)?.[1]}`);
  return { world, sources, start, flows };
}

async function hasSynced({ proxy }: RunningProxy): Promise<boolean> {
  const address = proxy.addresses().get('metrics');
  if (!address) return false;
  const text = await (await fetch(`http://127.0.0.1:${address.port}/metrics`)).text();
  return ['IPv4', 'IPv6'].every((family) =>
    new RegExp(`conntrack_reconciler_sync_duration_seconds_count\\{ip_family="${family}"\\} [1-9]`).test(text),
  );
}

for (const mode of KERNEL_MODES) {
  test.serial(
    `R8 ${mode}: stale UDP flows go when the last endpoint goes, when another takes its place, and with the service`,
    async (t) => {
      const { world, sources, start, flows } = await setUp(t, mode);
      await start();
      const answers = (name: string) => eventually(name, async () => (await world.pods[0].ask(ASK)).startsWith(name));
      t.not((await world.pods[0].ask(ASK)).slice(0, 3), 'pod');
      sources.endpointSlices.put(sliceOf('ns/dns', [POD_2], { ports: PORTS }));
      await answers('pod2');
      t.deepEqual(await flows().then((all) => all.map((flow) => flow.split(' ')[0])), [POD_2]);
      sources.endpointSlices.put(sliceOf('ns/dns', [{ ip: POD_2, conditions: { ready: false } }], { ports: PORTS }));
      await eventually('the last endpoint takes the flow with it', async () => (await flows()).length === 0);
      sources.endpointSlices.put(sliceOf('ns/dns', [POD_1], { ports: PORTS }));
      await answers('pod1');
      sources.endpointSlices.put(sliceOf('ns/dns', [POD_2], { ports: PORTS }));
      await eventually(
        'the old endpoint’s flow is gone',
        async () => !(await flows()).some((flow) => flow.startsWith(POD_1)),
      );
      await answers('pod2');
      sources.services.remove(serviceOf('ns/dns', VIP));
      await eventually('the service takes the flow with it', async () => (await flows()).length === 0);
    },
  );

  test.serial(`R9 ${mode}: a restart with unchanged state changes no rule and breaks no flow`, async (t) => {
    const { world, sources, start, flows } = await setUp(t, mode);
    sources.endpointSlices.put(sliceOf('ns/dns', [POD_1, POD_2], { ports: PORTS }));
    const first = await start();
    t.regex(await world.pods[0].ask({ ...ASK, timeoutMs: undefined }), /^pod/);
    const rules = async () =>
      (await world.node.run('nft', ['-a', 'list', 'ruleset'])).replaceAll(/packets \d+ bytes \d+/g, '');
    const before = { rules: await rules(), flows: await flows() };
    t.is(before.flows.length, 1);
    await first.stop();
    await start();
    t.deepEqual({ rules: await rules(), flows: await flows() }, before);
  });
}

test.serial(
  'CVE-2020-8558: node ports on localhost do not open what listens on localhost only; nftables does without',
  async (t) => {
    for (const mode of ['iptables', 'nftables'] as const) {
      const { world, sources, start } = await setUp(t, mode);
      sources.services.put(
        serviceOf('ns/web', '10.96.0.1', { type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] as never }),
      );
      sources.endpointSlices.put(sliceOf('ns/web', [POD_1]));
      const running = await start();
      const localnet = () => readSysctl('net.ipv4.conf.all.route_localnet', { netns: world.node.path });
      t.is(localnet(), mode === 'iptables' ? '1' : '0');
      t.is(
        (await world.host.ask({ protocol: 'tcp', host: '127.0.0.1', port: 30080 })).slice(0, 4),
        mode === 'iptables' ? 'pod1' : 'ECON',
      );
      if (mode === 'nftables') return;
      await world.host.serve({ name: 'secret', tcp: 8181 });
      // What an attacker with CAP_NET_ADMIN (or raw sockets) sends: packets for 127.0.0.1 to the node's MAC address.
      writeSysctl('net.ipv4.conf.all.route_localnet', '1', { netns: world.outside.path });
      await world.outside.ip('address', 'delete', '127.0.0.1/8', 'dev', 'lo');
      await world.outside.ip('route', 'add', '127.0.0.0/8', 'via', '192.168.50.1');
      const attack = (timeoutMs?: number) =>
        world.client.ask({ protocol: 'tcp', host: '127.0.0.1', port: 8181, timeoutMs });
      t.is(await attack(500), 'TIMEOUT');
      t.regex(await world.host.ask({ protocol: 'tcp', host: '127.0.0.1', port: 8181 }), /^secret/);
      await running.stop();
      await world.node.run('iptables', ['-F', 'KUBE-FIREWALL']);
      t.regex(await attack(), /^secret/, 'it is the guard that keeps them out');
    }
  },
);
