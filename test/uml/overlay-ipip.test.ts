/** The ipip backend, and tunnels that the machines which run tests mostly lack: between namespaced hosts of a guest. */
import test, { type ExecutionContext } from 'ava';
import type { OverlayBackend, Peer } from '../../cni/overlay/backend.ts';
import { createIpip } from '../../cni/overlay/ipip/ipip.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { eventually } from '../support/eventually.ts';
import { createOverlaySwitch, doesReach, type OverlayHost } from '../support/overlay-hosts.ts';

function open(t: ExecutionContext, host: OverlayHost, directRouting = false): OverlayBackend {
  const deps = { log: silentLogger, clock: systemClock, hostNetns: host.path };
  const backend = createIpip({ directRouting }, deps);
  t.teardown(() => backend.close());
  return backend;
}

const peersOf = (...peers: Peer[]) => new Map(peers.map((peer) => [peer.node, peer]));
const ownRoutes = async (host: OverlayHost) =>
  (await host.ip('-N', 'route'))
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.includes('proto 191'));

test('ipip: a node of ours and one made by hand after flannel; peers that change, a device that differs or is deleted', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  await two.ip('link', 'add', 'flannel.ipip', 'type', 'ipip', 'local', two.address, 'nopmtudisc');
  await two.ip('link', 'set', 'flannel.ipip', 'mtu', '1480', 'up');
  await two.ip('addr', 'add', '10.244.2.0/32', 'dev', 'flannel.ipip');
  await two.ip('route', 'add', '10.244.1.0/24', 'via', one.address, 'dev', 'flannel.ipip', 'onlink');
  const backend = open(t, one);
  const self = await one.self();
  t.deepEqual(await backend.ensure(self), { mtu: 1480, data: {} });
  t.deepEqual(await backend.sync(peersOf(two.peer('ipip'))), { changed: 1, skipped: [] });
  t.regex(
    await one.ip('-d', 'link', 'show', 'flannel.ipip'),
    /mtu 1480 .*ipip (ipip )?remote any local 192\.0\.2\.1 ttl inherit pmtudisc/s,
  );
  t.regex(await one.ip('addr', 'show', 'flannel.ipip'), /inet 10\.244\.1\.0\/32/);
  const whole = ['10.244.2.0/24 via 192.0.2.2 dev flannel.ipip proto 191 onlink'];
  t.deepEqual(await ownRoutes(one), whole);
  t.true(await doesReach(one.pod, '10.244.2.2', 1480));
  t.true(await doesReach(two, '10.244.1.2'));
  t.deepEqual(await backend.sync(peersOf(two.peer('ipip'))), { changed: 0, skipped: [] });

  // A restart finds its device; one that differs is made anew.
  const index = async () => (await one.ipJson<{ ifindex: number }>('link', 'show', 'flannel.ipip'))[0]!.ifindex;
  const before = await index();
  const next = open(t, one);
  await next.ensure(self);
  await next.sync(peersOf(two.peer('ipip')));
  t.is(await index(), before);
  await one.ip('link', 'delete', 'flannel.ipip');
  await one.ip('link', 'add', 'flannel.ipip', 'type', 'ipip', 'local', '192.0.2.77');
  await next.sync(peersOf(two.peer('ipip')));
  t.deepEqual(await ownRoutes(one), whole);
  t.true(await doesReach(one.pod, '10.244.2.2'));
  const controller = new AbortController();
  const running = next.run!(controller.signal);
  await one.ip('link', 'delete', 'flannel.ipip');
  await eventually('the device is back', async () => String(await ownRoutes(one)) === String(whole));
  t.true(await doesReach(one.pod, '10.244.2.2'));
  controller.abort();
  await running;

  const moved = { ...two.peer('ipip'), publicIps: { 4: '192.0.2.99' } };
  t.deepEqual(await next.sync(peersOf(moved), new Set(['node2'])), { changed: 1, skipped: [] });
  t.deepEqual(await ownRoutes(one), ['10.244.2.0/24 via 192.0.2.99 dev flannel.ipip proto 191 onlink']);
  const { skipped } = await next.sync(
    peersOf(
      { ...two.peer('vxlan') },
      { ...two.peer('ipip'), node: 'node3', podCidrs: { 6: 'fd00:3::/64' } },
      { ...two.peer('ipip'), node: 'node4', podCidrs: { 4: '10.244.4.0/24' }, publicIps: { 4: one.address } },
    ),
  );
  t.deepEqual(skipped, [
    { node: 'node2', reason: 'its backend is vxlan, ours ipip' },
    { node: 'node3', reason: 'its pods have IPv6 alone, and backend ipip IPv4' },
    { node: 'node4', reason: "its address 192.0.2.1 is this node's own" },
  ]);
  t.deepEqual(await ownRoutes(one), []);
  await next.remove();
  await next.remove();
  t.notRegex(await one.ip('link'), /flannel/);

  // Neighbours directly, others through the tunnel.
  const direct = open(t, one, true);
  await direct.ensure(self);
  await one.ip('route', 'add', '198.51.100.0/24', 'via', '192.0.2.2');
  const far = {
    ...two.peer('ipip'),
    node: 'node5',
    podCidrs: { 4: '10.244.5.0/24' },
    publicIps: { 4: '198.51.100.5' },
  };
  await direct.sync(peersOf(two.peer('ipip'), far));
  t.deepEqual(await ownRoutes(one), [
    '10.244.2.0/24 via 192.0.2.2 dev eth0 proto 191',
    '10.244.5.0/24 via 198.51.100.5 dev flannel.ipip proto 191 onlink',
  ]);
  t.true(await doesReach(one.pod, '10.244.2.2'));

  await one.ip('link', 'delete', 'flannel.ipip');
  await one.ip('link', 'add', 'flannel.ipip', 'type', 'bridge');
  await t.throwsAsync(open(t, one).ensure(self), { message: /flannel\.ipip is of kind bridge: delete or rename it/ });
});
