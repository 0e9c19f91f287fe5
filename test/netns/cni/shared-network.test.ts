/** A host where another runtime attaches containers to the same network, by libcni's files. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { BRIDGE, podPair, sandbox, setUpInvoke } from '../../support/cni-invoke.ts';
import { createTestNetns } from '../../support/netns.ts';

const never = new AbortController().signal;

test('what another runtime attaches while the agent runs is its own: GC spares it until its namespace is gone', async (t) => {
  const { open, write, conflist, ipam, leases, cached, base, hostLinks } = await setUpInvoke(t);
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }], { cniVersion: '1.1.0' }));
  const [ours, theirs] = await podPair(t);
  const agent = open();
  await agent.attach(sandbox(ours, 'ours'), never);
  await open().attach(sandbox(theirs, 'theirs'), never);
  const file = join(base, 'results/net-id-theirs-eth0');
  const { runtime, ...kept } = JSON.parse(readFileSync(file, 'utf8'));
  t.is(runtime, 'berth');
  writeFileSync(file, JSON.stringify(kept));
  const links = (await hostLinks()).length;
  for (let look = 0; look < 3; look++) {
    await agent.collect(new Set(['id-ours']));
    t.deepEqual(leases().sort(), ['10.9.0.2', '10.9.0.3']);
    t.is((await hostLinks()).length, links);
    await t.notThrowsAsync(ours.run('busybox', ['ping', '-c1', '-W20', '10.9.0.3']));
  }
  writeFileSync(file, JSON.stringify({ ...kept, netns: '/run/netns/gone' }));
  const restarted = open();
  await restarted.collect(new Set(['id-ours']));
  t.deepEqual([leases(), cached()], [['10.9.0.2'], ['net-id-ours-eth0']]);
});

test('what another runtime has given back is nobody’s any more', async (t) => {
  const { open, write, conflist, ipam, leases, base } = await setUpInvoke(t);
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }], { cniVersion: '1.1.0' }));
  const pod = await createTestNetns(t, 'pod');
  await open().attach(sandbox(pod, 'theirs'), never);
  const file = join(base, 'results/net-id-theirs-eth0');
  const { runtime: _, ...kept } = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify(kept));
  const agent = open();
  await agent.collect(new Set());
  t.deepEqual(leases(), ['10.9.0.2']);
  // Its DEL was killed behind the removal of the file: the lease is left.
  rmSync(file);
  await agent.collect(new Set());
  t.deepEqual(leases(), []);
});

test('the host’s own namespace is no pod’s, whatever led there', async (t) => {
  const { open, write, conflist, ipam, leases, cached, host, hostLinks } = await setUpInvoke(t);
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }]));
  const network = open();
  await host.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'uplink');
  const before = await hostLinks();
  const error = await t.throwsAsync(network.attach(sandbox(host, 'one'), never));
  t.regex(String(error?.message), /is the host's \(CNI error 8\)/);
  await network.detach(sandbox(host, 'one'));
  t.deepEqual([leases(), cached(), await hostLinks()], [[], [], before]);
  t.regex(await host.ip('link', 'show', 'lo'), /LOOPBACK,UP/);
});

test('a network that takes another’s place gives no address that a pod still has of the one before', async (t) => {
  const { open, write, conflist, leases, base } = await setUpInvoke(t);
  const names = ['old', 'older', 'new', 'asks'];
  const [old, older, fresh, asks] = await Promise.all(names.map((name) => createTestNetns(t, name)));
  const builtin = open({ mode: 'auto' });
  t.deepEqual(await builtin.attach(sandbox(old!, 'old'), never), { ips: ['10.244.1.2'] });
  t.deepEqual(await builtin.attach(sandbox(older!, 'older'), never), { ips: ['10.244.1.3'] });
  const dataDir = join(base, 'networks');
  const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet: '10.244.1.0/24' }]] };
  const capabilities = { ips: true };
  write('10-add-on.conflist', conflist([{ ...BRIDGE, bridge: 'cni0', capabilities, ipam }], { name: 'cbr0' }));
  const network = open({ mode: 'auto' });
  t.deepEqual(await network.attach(sandbox(fresh!, 'new'), never), { ips: ['10.244.1.4'] });
  await t.notThrowsAsync(fresh!.run('busybox', ['ping', '-c1', '-W2', '10.244.1.2']));
  t.deepEqual(leases('cbr0'), ['10.244.1.4']);
  const annotations = { 'berth/pod-ips': '10.244.1.3' };
  const error = await t.throwsAsync(network.attach(sandbox(asks!, 'asks', { annotations }), never));
  t.regex(
    String(error?.message),
    /network cbr0 gave 10\.244\.1\.3, which is in use; id-older eth0 has it of network berth \(CNI error 102\)/,
  );
  t.deepEqual(leases('cbr0'), ['10.244.1.4']);
  await network.detach(sandbox(old!, 'old'));
  await network.detach(sandbox(older!, 'older'));
  t.deepEqual(await network.attach(sandbox(asks!, 'asks', { annotations }), never), { ips: ['10.244.1.3'] });
  for (const name of ['new', 'asks']) await network.detach(sandbox(fresh!, name));
  t.deepEqual([leases('cbr0'), leases('berth')], [[], []]);
});
