/** What a host port must never take: what is for a Service, and what merely passes. */
import test from 'ava';
import { run } from '../../../src/linux/exec.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { eventually } from '../../support/eventually.ts';
import { addPorts, NODE_ADDRESS, ourPortmap, portmapConf } from '../../support/host-ports.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { BEHAVIOUR_NODE } from '../../support/proxy-behaviours.ts';
import { createSources, createWorld, startProxy, type World } from '../../support/proxy-world.ts';

for (const mode of ['iptables', 'nftables', 'userspace'] as const)
  test.serial(
    `CVE-2019-9946: with the proxy in mode ${mode}, a host port takes nothing of a Service’s, whichever was first`,
    async (t) => {
      const world = await createWorld(t);
      const call = ourPortmap(world.node);
      const netns = world.podPaths[1]!;
      const conf = (backend: string) =>
        portmapConf(
          '10.244.0.12/24',
          [
            { hostPort: 30_100, containerPort: 8080 },
            { hostPort: 80, containerPort: 8080 },
          ],
          { backend, name: backend },
        );
      const map = async () => {
        for (const backend of ['iptables', 'nftables']) await addPorts(t, call, 'two', conf(backend), netns);
      };
      const look = async (when: string) => {
        const ask = (peer: World['client'], host: string, port: number) => peer.ask({ protocol: 'tcp', host, port });
        t.regex(await ask(world.client, NODE_ADDRESS, 30_100), /^pod1 /, `${when}: NodePort`);
        t.regex(await ask(world.host, NODE_ADDRESS, 30_100), /^pod1 /, `${when}: NodePort from the node`);
        t.regex(await ask(world.host, '10.96.1.1', 80), /^pod1 /, `${when}: ClusterIP from the node`);
        t.regex(await ask(world.pods[1], '10.96.1.1', 80), /^pod1 /, `${when}: ClusterIP from a pod`);
        t.regex(await ask(world.client, NODE_ADDRESS, 80), /^pod2 /, `${when}: the host port that no Service has`);
      };
      await map();
      const sources = createSources();
      sources.nodes.put(BEHAVIOUR_NODE);
      const extras = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_100, protocol: 'TCP' }] } as const;
      sources.services.put(serviceOf('ns/web', '10.96.1.1', { ...extras, ports: [...extras.ports] }));
      sources.endpointSlices.put(sliceOf('ns/web', ['10.244.0.11']));
      for (const source of Object.values(sources)) source.finishListing();
      startProxy(t, world.node.path, sources, {
        mode,
        'nftables.minSyncPeriod': '1ms',
        'nftables.syncPeriod': '500ms',
      });
      await eventually('the Service answers', async () =>
        (await world.host.ask({ protocol: 'tcp', host: '10.96.1.1', port: 80, timeoutMs: 300 })).startsWith('pod'),
      );
      await look('host ports first');
      for (const backend of ['iptables', 'nftables'])
        await call({ command: 'DEL', type: 'portmap', id: 'two', conf: conf(backend) });
      await map();
      await look('Service first');
    },
  );

test.serial(
  'CVE-2025-67499: a host port takes only what is for an address of the node, with either backend',
  async (t) => {
    const world = await createWorld(t);
    const call = ourPortmap(world.node);
    // What passes: from the client through the node to pod 1, which serves 8080 and stands for a server elsewhere.
    const elsewhere = '10.244.0.11';
    for (const backend of ['iptables', 'nftables']) {
      const mappings = [undefined, elsewhere].map((hostIP) => ({ hostPort: 8080, containerPort: 8080, hostIP }));
      const conf = portmapConf('10.244.0.12/24', mappings, { backend });
      await addPorts(t, call, 'two', conf, world.podPaths[1]!);
      for (const peer of [world.client, world.host])
        t.regex(await peer.ask({ protocol: 'tcp', host: elsewhere, port: 8080 }), /^pod1 /, backend);
      t.is(await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 8080 }), 'pod2 192.168.50.9', backend);
      await call({ command: 'DEL', type: 'portmap', id: 'two', conf });
    }
  },
);

test.serial(
  'a host port of localhost is the node’s alone: a neighbour that sends to 127.0.0.1 does not get there',
  async (t) => {
    const world = await createWorld(t);
    const call = ourPortmap(world.node);
    // A neighbour whose 127.0.0.1 is not its own: it leaves by its uplink, to the node's link address.
    const neighbours = [world.outside.path, world.podPaths[0]!];
    for (const [netns, gateway] of [
      [neighbours[0]!, NODE_ADDRESS],
      [neighbours[1]!, '10.244.0.1'],
    ]) {
      const ip = (...args: string[]) => run('ip', args, { netns });
      writeSysctl('net.ipv4.conf.all.route_localnet', '1', { netns });
      await ip('addr', 'del', '127.0.0.1/8', 'dev', 'lo');
      await ip('route', 'add', '127.0.0.1/32', 'via', gateway!);
    }
    // As kube-proxy and the plugin itself set it.
    writeSysctl('net.ipv4.conf.all.route_localnet', '1', { netns: world.node.path });
    const ask = (peer: World['client']) =>
      peer.ask({ protocol: 'tcp', host: '127.0.0.1', port: 9090, timeoutMs: 1500 });
    for (const backend of ['iptables', 'nftables'])
      for (const hostIP of [undefined, '127.0.0.1']) {
        const conf = portmapConf('10.244.0.12/24', [{ hostPort: 9090, containerPort: 8080, hostIP }], { backend });
        await addPorts(t, call, 'two', conf, world.podPaths[1]!);
        t.regex(await ask(world.host), /^pod2 /, `${backend}: the node itself`);
        for (const peer of [world.client, world.pods[0]])
          if (hostIP === undefined)
            t.regex(await ask(peer), /^pod2 /, `${backend}: the neighbour gets there, with a port for all addresses`);
          else t.notRegex(await ask(peer), /^pod2 /, `${backend}: a neighbour`);
        t.false((await call({ command: 'CHECK', type: 'portmap', id: 'two', netns: world.podPaths[1]!, conf })).failed);
        await call({ command: 'DEL', type: 'portmap', id: 'two', conf });
      }
  },
);
