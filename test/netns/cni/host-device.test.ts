/** The host-device plugin: the same calls to ours and to Debian's. */
import test, { type ExecutionContext } from 'ava';
import { createSetCaller, hasReference, type PluginSet } from '../../support/cni-call.ts';
import { createTestNetns } from '../../support/netns.ts';

const sets: PluginSet[] = ['ours', 'reference'];

async function setUp(t: ExecutionContext, set: PluginSet) {
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  return { host, pod, call: createSetCaller(t, host, set) };
}

for (const set of sets) {
  const runs = set === 'ours' || hasReference;
  const story = runs ? test : test.skip;
  const name = (title: string) => `${set}: ${title}${runs ? '' : ' (Debian’s plugins could not be had)'}`;

  story(name('host-device: by name and by MAC; in, CHECK, and back under its name'), async (t) => {
    const { host, pod, call } = await setUp(t, set);
    await host.ip('link', 'add', 'wire0', 'address', '0a:00:00:00:00:05', 'type', 'veth', 'peer', 'name', 'wire1');
    await host.ip('link', 'set', 'wire1', 'up');
    const ipam = {
      type: 'static',
      addresses: [{ address: '10.9.0.10/24' }],
      routes: [{ dst: '10.8.0.0/16', gw: '10.9.0.7' }],
    };
    for (const selector of [{ device: 'wire0' }, { hwaddr: '0A:00:00:00:00:05' }]) {
      const conf = { ...selector, ipam };
      const added = await call('host-device', { command: 'ADD', id: 'one', pod, ifname: 'net1', conf });
      t.is(added.status, 0, JSON.stringify(added.out));
      t.like(added.out.interfaces[0], { name: 'net1', mac: '0a:00:00:00:00:05', sandbox: pod.path });
      t.is(added.out.ips[0].address, '10.9.0.10/24');
      t.regex(await pod.ip('route'), /10\.8\.0\.0\/16 via 10\.9\.0\.7 dev net1/);
      t.notRegex(await host.ip('link'), /wire0@/);
      const later = { ...conf, prevResult: added.out };
      t.is((await call('host-device', { command: 'CHECK', id: 'one', pod, ifname: 'net1', conf: later })).status, 0);
      t.is((await call('host-device', { command: 'DEL', id: 'one', pod, ifname: 'net1', conf: later })).status, 0);
      t.regex(await host.ip('link'), /wire0@wire1/);
      t.notRegex(await pod.ip('link'), /net1/);
    }
    const bare = { command: 'ADD', id: 'one', pod, ifname: 'net2', conf: { device: 'wire0' } } as const;
    const added = await call('host-device', bare);
    t.deepEqual(
      added.out.interfaces.map((one: { name: string }) => one.name),
      ['net2'],
    );
    t.is((await call('host-device', { ...bare, command: 'DEL' })).status, 0);
    t.regex(await host.ip('link'), /wire0@wire1/);
    t.regex((await call('host-device', { ...bare, conf: {} })).out.msg, /specify either/);
    t.not((await call('host-device', { ...bare, conf: { device: 'none' } })).status, 0);
    t.not((await call('host-device', { ...bare, conf: { kernelpath: '/etc' } })).status, 0);
    t.not((await call('host-device', { ...bare, conf: { pciBusID: '0000:00:99.9' } })).status, 0);
  });
}

test('ours: host-device moves a device whose name the container has, and undoes what failed or was killed', async (t) => {
  const { host, pod, call } = await setUp(t, 'ours');
  await host.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'wire1');
  await host.ip('link', 'set', 'eth0', 'up');
  await host.ip('link', 'set', 'eth0', 'alias', 'uplink to nowhere');
  await pod.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other');
  const all = { id: 'one', pod, ifname: 'net1', conf: { device: 'eth0' } };
  t.is((await call('host-device', { command: 'ADD', ...all })).status, 0);
  t.regex(await pod.ip('link'), /net1@/);
  t.regex(await pod.ip('link'), /eth0@other/);
  for (const _ of [1, 2]) t.is((await call('host-device', { command: 'DEL', ...all })).status, 0);
  t.regex(await host.ip('link'), /eth0@wire1/);
  t.regex(await pod.ip('link'), /eth0@other/);

  await host.ip('link', 'set', 'eth0', 'up', 'alias', 'uplink to nowhere');
  const refused = { ...all.conf, ipam: { type: 'nobody' } };
  t.not((await call('host-device', { command: 'ADD', ...all, conf: refused })).status, 0);
  t.regex(await host.ip('link'), /eth0@wire1/, 'back where it was');
  t.is((await call('host-device', { command: 'ADD', ...all, ifname: 'eth0' })).out.code, 101);
  t.regex(await host.ip('link'), /eth0@wire1/);

  // Killed between the move and the new name.
  await pod.ip('link', 'delete', 'eth0');
  await host.ip('link', 'set', 'eth0', 'alias', 'eth0');
  await host.ip('link', 'set', 'eth0', 'netns', pod.name);
  t.is((await call('host-device', { command: 'DEL', ...all })).status, 0);
  t.regex(await host.ip('link'), /eth0@wire1/);
  t.is((await call('host-device', { command: 'ADD', ...all })).status, 0);
  // The host has such a link again: nothing is overwritten, and DEL says why.
  await host.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'new1');
  t.regex((await call('host-device', { command: 'DEL', ...all })).out.msg, /the host has another link eth0 meanwhile/);
  await host.ip('link', 'delete', 'eth0');
  t.is((await call('host-device', { command: 'DEL', ...all })).status, 0);
  t.is((await call('host-device', { command: 'DEL', ...all, netns: '/run/netns/none' })).status, 0);

  // The container's namespace ended without DEL: the kernel has put hardware back, under the name that it had there.
  const valid = { cniVersion: '1.1.0', 'cni.dev/valid-attachments': [], ...all.conf };
  for (const what of [
    { command: 'DEL', ...all, netns: '/run/netns/none' },
    { command: 'GC', conf: valid },
    { command: 'ADD', ...all },
  ]) {
    await host.ip('link', 'set', 'eth0', 'down');
    await host.ip('link', 'set', 'eth0', 'name', 'net1', 'alias', 'eth0');
    t.is((await call('host-device', what)).status, 0, what.command);
    if (what.command !== 'ADD') t.regex(await host.ip('link'), /eth0@wire1/, what.command);
  }
  t.regex(await pod.ip('link'), /net1@/);
});

(hasReference ? test : test.skip)('host-device: what one set moved in the other moves out', async (t) => {
  for (const [maker, remover] of [
    ['ours', 'reference'],
    ['reference', 'ours'],
  ] as const) {
    const { host, pod, call } = await setUp(t, maker);
    await host.ip('link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire1');
    const device = { id: 'one', pod, ifname: 'net2', conf: { device: 'wire0' } };
    t.is((await call('host-device', { command: 'ADD', ...device })).status, 0);
    t.is((await call('host-device', { command: 'DEL', ...device }, remover)).status, 0);
    t.regex(await host.ip('link'), /wire0@wire1/);
  }
});
