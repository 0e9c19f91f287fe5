/** One network of a node of ours and one of flannel's: its annotations written by hand, its entries made by hand from ours. */
import test, { type ExecutionContext } from 'ava';
import { nodes } from '../../../src/kube/resources.ts';
import type { FakeKubeClient } from '../../fakes/kube-client.ts';
import { eventually } from '../../support/eventually.ts';
import { addFlannelPeer, type FlannelPeer, makeFlannelDevice } from '../../support/flannel-by-hand.ts';
import { createOverlaySwitch, doesReach, reaches } from '../../support/overlay-hosts.ts';
import { createOverlayApi, draftNode, startOverlay } from '../../support/overlay-nodes.ts';

const PREFIX = 'flannel.alpha.coreos.com';
const VXLAN = { backend: { Type: 'vxlan' } };

/** To the letter what flanneld writes. */
const flannelAnnotations = (publicIp: string, mac: string) => ({
  [`${PREFIX}/backend-data`]: `{"VNI":1,"VtepMAC":"${mac}"}`,
  [`${PREFIX}/backend-type`]: 'vxlan',
  [`${PREFIX}/kube-subnet-manager`]: 'true',
  [`${PREFIX}/public-ip`]: publicIp,
});

/** Reads a node's annotations as flanneld does: what is missing or of another shape, it does not reach. */
function readAsFlannel(client: FakeKubeClient, name: string): FlannelPeer | undefined {
  const { metadata, spec } = client.peek(nodes, name)!;
  const annotation = (key: string) => metadata.annotations?.[`${PREFIX}/${key}`];
  if (annotation('kube-subnet-manager') !== 'true' || annotation('backend-type') !== 'vxlan') return undefined;
  const { VNI, VtepMAC } = JSON.parse(annotation('backend-data') ?? 'null') ?? {};
  if (VNI !== 1) return undefined;
  return { podCidr: spec.podCIDR!, publicIp: annotation('public-ip')!, mac: VtepMAC };
}

async function setUp(t: ExecutionContext) {
  const underlay = await createOverlaySwitch(t);
  const client = createOverlayApi();
  const [ours, theirs] = [await underlay.addHost(1), await underlay.addHost(2)];
  for (const { number, address } of [ours, theirs])
    client.seed(nodes, draftNode(`node${number}`, { podCidrs: [`10.244.${number}.0/24`], internalIps: [address] }));
  const say = (publicIp: string, mac: string) =>
    client.edit(nodes, 'node2', ({ metadata }) => {
      metadata.annotations = flannelAnnotations(publicIp, mac);
    });
  const ourEntries = async () => ({
    neighbours: await ours.ip('neigh', 'show', 'dev', 'flannel.1', 'nud', 'permanent'),
    forwarding: await ours.run('bridge', ['fdb', 'show', 'dev', 'flannel.1']),
    routes: await ours.ip('route', 'show', 'dev', 'flannel.1'),
  });
  return { client, ours, theirs, say, ourEntries };
}

test('pods of both reach each other; the flannel node gets another MAC, another address, and goes', async (t) => {
  const { client, ours, theirs, say, ourEntries } = await setUp(t);
  const overlay = await startOverlay(t, ours, client, VXLAN);
  await eventually('our annotations', () => readAsFlannel(client, 'node1') !== undefined);
  t.is(overlay.state().skipped.length, 1, 'as long as the other node says nothing');

  await makeFlannelDevice(theirs, '02:00:00:00:02:02');
  await addFlannelPeer(theirs, readAsFlannel(client, 'node1')!);
  say(theirs.address, '02:00:00:00:02:02');
  await eventually('pods of both', () => reaches(ours.pod, '10.244.2.2'));
  t.true(await doesReach(theirs.pod, '10.244.1.2', 1450));
  t.deepEqual(overlay.state().skipped, []);

  // The kernel forgets the neighbours of a device whose MAC changes.
  await theirs.ip('link', 'set', 'flannel.1', 'address', '02:00:00:00:02:ee');
  await addFlannelPeer(theirs, readAsFlannel(client, 'node1')!);
  say(theirs.address, '02:00:00:00:02:ee');
  await eventually('the new MAC', async () => /02:ee/.test((await ourEntries()).neighbours));
  t.true(await doesReach(ours.pod, '10.244.2.2'));
  t.notRegex(Object.values(await ourEntries()).join(), /02:02/);

  say('192.0.2.222', '02:00:00:00:02:ee');
  await eventually('the new address', async () => /192\.0\.2\.222/.test((await ourEntries()).forwarding));
  await client.delete(nodes, { name: 'node2' });
  const isEmpty = async () => Object.values(await ourEntries()).every((text) => text.trim() === '');
  await eventually('nothing of it is left', isEmpty);
});

test('a node changes from flannel to ours and back with its pods running: MAC, device and traffic stay', async (t) => {
  const { client, ours, theirs, say } = await setUp(t);
  const [ourMac, theirMac] = ['02:00:00:00:01:01', '02:00:00:00:02:02'];
  // Both are flannel's at first.
  for (const [host, mac] of [
    [ours, ourMac],
    [theirs, theirMac],
  ] as const)
    await makeFlannelDevice(host, mac);
  client.edit(nodes, 'node1', ({ metadata }) => {
    metadata.annotations = flannelAnnotations(ours.address, ourMac);
  });
  say(theirs.address, theirMac);
  await addFlannelPeer(ours, readAsFlannel(client, 'node2')!);
  await addFlannelPeer(theirs, readAsFlannel(client, 'node1')!);
  const device = async () => (await ours.ipJson<{ ifindex: number; address: string }>('link', 'show', 'flannel.1'))[0]!;
  const before = await device();
  t.true(await doesReach(ours.pod, '10.244.2.2'));

  const lost = ours.run('busybox', ['ping', '-c', '15', '-i', '0.1', '-W', '1', '10.244.2.2'], { okCodes: [0, 1] });
  const overlay = await startOverlay(t, ours, client, VXLAN);
  await eventually('it is ready', () => overlay.state().ready && overlay.state().skipped.length === 0);
  t.regex(await lost, / 0% packet loss/, 'while one takes the place of the other');
  const { ifindex, address } = await device();
  t.deepEqual([ifindex, address], [before.ifindex, before.address]);
  t.deepEqual(readAsFlannel(client, 'node1'), { podCidr: '10.244.1.0/24', publicIp: ours.address, mac: ourMac });

  await overlay.stop();
  t.true(await doesReach(ours.pod, '10.244.2.2'), 'nobody runs');
  await addFlannelPeer(ours, readAsFlannel(client, 'node2')!);
  t.is((await ours.ip('route', 'show', '10.244.2.0/24')).trim().split('\n').length, 1, 'theirs in place of ours');
  t.true(await doesReach(ours.pod, '10.244.2.2'));
});
