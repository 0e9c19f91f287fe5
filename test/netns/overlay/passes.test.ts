/** The overlay's passes while something is wrong: with the uplink, a backend that fails, files that somebody deletes. */
import { existsSync, rmSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import type { OverlayBackend } from '../../../cni/overlay/backend.ts';
import { nodes } from '../../../src/kube/resources.ts';
import { eventually } from '../../support/eventually.ts';
import { createOverlaySwitch, type OverlayHost } from '../../support/overlay-hosts.ts';
import { createOverlayApi, draftNode, KEYS, startOverlay } from '../../support/overlay-nodes.ts';

const NO_CHOICE = { ifaces: [], ifaceRegexes: [], publicIps: {}, nodeIps: [], preferNodeIps: false };

async function setUp(t: ExecutionContext) {
  const wire = await createOverlaySwitch(t);
  const host = await wire.addHost(1);
  const client = createOverlayApi();
  for (const number of [1, 2]) client.seed(nodes, plainNode(number));
  return { host, client };
}

const plainNode = (number: number, internalIp = `192.0.2.${number}`) =>
  draftNode(`node${number}`, { podCidrs: [`10.244.${number}.0/24`], internalIps: [internalIp] });

const vxlanNode = (number: number) =>
  draftNode(`node${number}`, {
    podCidrs: [`10.244.${number}.0/24`],
    annotations: {
      [KEYS.managed]: 'true',
      [KEYS.type]: 'vxlan',
      [KEYS.publicIp[4]]: `192.0.2.${number}`,
      [KEYS.data[4]]: `{"VNI":1,"VtepMAC":"02:00:00:00:00:0${number}"}`,
    },
  });

async function publicIp(client: ReturnType<typeof createOverlayApi>): Promise<string | undefined> {
  return (await client.get(nodes, { name: 'node1' })).metadata.annotations?.[KEYS.publicIp[4]];
}

/** As many routes as it has been given peers, and whatever error it is told to have. */
function createFailing() {
  let problem: string | undefined;
  const calls = { ensure: 0, sync: 0 };
  const backend: OverlayBackend = {
    type: 'host-gw',
    async ensure({ uplink }) {
      calls.ensure++;
      return { mtu: uplink.mtu, data: {} };
    },
    async sync() {
      calls.sync++;
      if (problem) throw new Error(problem);
      return { changed: 0, skipped: [] };
    },
    async remove() {},
    close() {},
  };
  return {
    backend,
    calls,
    fail(message: string | undefined) {
      problem = message;
    },
  };
}

const moveTo = async (host: OverlayHost, ...addresses: string[]) => {
  await host.ip('addr', 'flush', 'dev', 'eth0');
  for (const address of addresses) await host.ip('addr', 'add', address, 'dev', 'eth0');
};

/** Waits for a whole pass that began after the call: the second that writes the file again. */
async function fullPass({ subnetFile }: { subnetFile: string }): Promise<void> {
  for (const pass of ['the one under way', 'the next']) {
    rmSync(subnetFile, { force: true });
    await eventually(`subnet.env is back: ${pass}`, () => existsSync(subnetFile));
  }
}

test('a backend that fails is complained about once, and a new address is told even when the pass that found it failed', async (t) => {
  const { host, client } = await setUp(t);
  const failing = createFailing();
  const overlay = await startOverlay(t, host, client, { ownBackend: failing.backend, resyncMs: 50 });
  await eventually('it is ready', () => overlay.state().ready);
  failing.fail('no buffer space');
  // The new one first: a host without any address would be another complaint.
  await host.ip('addr', 'add', '203.0.113.9/24', 'dev', 'eth0');
  await host.ip('addr', 'del', '192.0.2.1/24', 'dev', 'eth0');
  await eventually('it has found the new address', () => failing.calls.ensure === 2);
  const before = failing.calls.sync;
  await eventually('it has tried again', () => failing.calls.sync > before + 1);
  t.deepEqual(
    overlay.complaints.map(({ message }) => message),
    ['the overlay could not be brought in order; trying again'],
  );
  t.is(overlay.state().reason, 'no buffer space');
  t.false(overlay.state().ready);
  failing.fail(undefined);
  await eventually('the others know', async () => (await publicIp(client)) === '203.0.113.9');
  await eventually('it is ready again', () => overlay.state().ready);
});

test('without an uplink other nodes come and go all the same; its file comes back when somebody deletes it', async (t) => {
  const { host, client } = await setUp(t);
  const overlay = await startOverlay(t, host, client, {
    backend: { Type: 'vxlan' },
    uplink: { ...NO_CHOICE, ifaces: ['eth0'] },
  });
  await eventually('it is ready', () => overlay.state().ready);
  await fullPass(overlay);
  await host.ip('link', 'set', 'eth0', 'name', 'ens7');
  await eventually('it says what is wrong', () => overlay.state().reason?.startsWith('--iface eth0') ?? false);
  client.seed(nodes, vxlanNode(3));
  await eventually('the newcomer is reached', async () => /^10\.244\.3\.0\/24/m.test(await host.ip('route')));
  t.false(overlay.state().ready);
});

test('a cable that was out, a device set down: what went with them is back without waiting for the next look', async (t) => {
  const { host, client } = await setUp(t);
  const seldom = { resyncMs: 3_600_000 };
  client.seed(nodes, vxlanNode(3));
  const hasRoute = (route: string) =>
    eventually(`the route ${route}`, async () => (await host.ip('route')).includes(route));
  const vxlan = await startOverlay(t, host, client, { ...seldom, backend: { Type: 'vxlan' } });
  await hasRoute('10.244.3.0/24 via 10.244.3.0 dev flannel.1');
  await eventually('all is done', () => vxlan.state().ready);
  await host.ip('link', 'set', 'flannel.1', 'down');
  await hasRoute('10.244.3.0/24 via 10.244.3.0 dev flannel.1');
  await vxlan.stop();
  await startOverlay(t, host, client, seldom);
  await hasRoute('10.244.2.0/24 via 192.0.2.2 dev eth0');
  for (const state of ['down', 'up']) await host.ip('link', 'set', 'eth0', state);
  await t.notThrowsAsync(hasRoute('10.244.2.0/24 via 192.0.2.2 dev eth0'));
});

test('a VPN that takes the default route moves nobody; an address that goes does', async (t) => {
  const { host, client } = await setUp(t);
  await host.ip('route', 'add', 'default', 'via', '192.0.2.254');
  const overlay = await startOverlay(t, host, client, { backend: { Type: 'vxlan' }, uplink: NO_CHOICE });
  await eventually('it is ready', () => overlay.state().ready);
  const index = async () => (await host.ipJson<{ ifindex: number }>('link', 'show', 'flannel.1'))[0]!.ifindex;
  const before = await index();
  await host.ip('link', 'add', 'vpn', 'type', 'veth', 'peer', 'name', 'vpn-end');
  for (const link of ['vpn', 'vpn-end']) await host.ip('link', 'set', link, 'up');
  await host.ip('addr', 'add', '198.51.100.1/24', 'dev', 'vpn');
  await host.ip('route', 'replace', 'default', 'via', '198.51.100.254');
  await fullPass(overlay);
  t.is(await publicIp(client), '192.0.2.1');
  t.is(await index(), before);
  await moveTo(host);
  await eventually('the way that is left', async () => (await publicIp(client)) === '198.51.100.1');
  t.false(overlay.complaints.some(({ message }) => /somebody deleted/.test(String(message))));
});

test('a LAN as wide as 10.0.0.0/8, a part of which is the pods’', async (t) => {
  const { host, client } = await setUp(t);
  await moveTo(host, '10.0.0.1/8');
  client.seed(nodes, plainNode(3, '10.0.0.3'));
  const overlay = await startOverlay(t, host, client);
  await eventually('it is ready', () => overlay.state().ready);
  await eventually('the way to node3', async () => /^10\.244\.3\.0\/24 via 10\.0\.0\.3 /m.test(await host.ip('route')));
  t.deepEqual(
    overlay.state().skipped.map(({ node }) => node),
    ['node2'],
  );
});
