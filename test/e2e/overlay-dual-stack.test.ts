/** A cluster of two families by `up --nodes 2` over VXLAN: pods, nodes, Services and a host outside reach each other by both. */
import test from 'ava';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import { prefix6Beside } from '../../cli/nodes/records.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots } from '../support/host-snapshot.ts';
import { createOverlayStory } from '../support/overlay-story.ts';
import { createTraffic } from '../support/traffic.ts';

const kubectl = await kubectlOrWhyNot();
const skip =
  whyNoHost() ??
  ('skip' in kubectl ? kubectl.skip : undefined) ??
  (process.env['BERTH_TEST_FULL'] === '1' ? undefined : 'with --full only');

const OWN6 = 'fd00:77::7';
const CLIENT6 = 'fd00:77::1';
/** IPv6 has 20 bytes more around each packet. */
const MTU = 1500 - 70;
const beside = (address: string) => prefix6Beside(address).split('/')[0]!;

let machine: ClusterHost;
let client: Host;
test.after.always(async () => {
  await client?.close();
  await machine?.close();
});

(skip ? test.serial.skip : test.serial)(
  `vxlan over two families: pods, Services and nodes of two nodes, and a host outside, reach each other${skip ? ` (${skip})` : ''}`,
  async (t) => {
    machine = await createClusterHost('machine');
    client = await createHost('client');
    await machine.net.plug(client);
    await client.run(['ip', 'address', 'add', `${CLIENT6}/64`, 'dev', 'eth0', 'nodad']);
    await machine.sh(`ip address add ${OWN6}/64 dev eth0 nodad`);
    const before = await machine.snapshot();
    const cidrs = ['--pod-cidr', '10.244.0.0/16,fd00:244::/56', '--service-cidr', '10.96.0.0/16,fd00:96::/112'];
    await machine.berthOk('up', '--nodes', '2', '--overlay-backend', 'vxlan', ...cidrs);
    for (const socket of [undefined, '/var/lib/berth/nodes/machine-2/disk/disk/var/lib/berth-node/docker.sock'])
      await machine.loadImages(socket);
    const traffic = createTraffic(machine);
    const story = createOverlayStory(machine, traffic, {
      near: { name: 'machine', addresses: ['172.29.77.1', OWN6] },
      far: { name: 'machine-2', addresses: ['172.29.77.2', beside('172.29.77.2')] },
    });
    await story.applyPods();
    await story.begin();
    t.regex(await machine.sh('ip route'), /^10\.244\.1\.0\/24 via 10\.244\.1\.0 dev flannel\.1 .*onlink/m);
    t.regex(await machine.sh('ip -6 route'), /^fd00:244:0:1::\/64 via fd00:244:0:1:: dev flannel-v6\.1 .*onlink/m);
    await story.check(t, MTU);
    // The last of it, large datagrams from the node to a NodePort there, narrowed the tunnel for the next minutes.
    t.regex((await machine.berth('doctor')).stdout, /^path MTU to nodes +warning .* machine-2 \(fd00:/m);
    const askFromOutside = async (requests: Parameters<typeof traffic.askCommand>[0]) =>
      JSON.parse((await client.run(['sh', '-c', traffic.askCommand(requests)])).stdout);
    await story.checkFromOutside(t, askFromOutside, { hosts: [machine.address, OWN6], mtu: MTU, uplinkMtu: 1500 });
    await story.end();
    await machine.berthOk('down', '--purge');
    t.deepEqual(diffSnapshots(before, await machine.snapshot()), []);
  },
);
