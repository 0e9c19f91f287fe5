/** The tap plugin, beside what ip shows. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createSetCaller } from '../../support/cni-call.ts';
import { createTestNetns } from '../../support/netns.ts';

test('ours: tap: a link for a program in the container, as a port of its bridge too', async (t) => {
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  const call = createSetCaller(t, host, 'ours');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const leases = () => readdirSync(join(dataDir, 'net')).filter((name) => /^\d+\./.test(name));
  const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet: '10.9.0.0/24' }]] };
  const all = { id: 'one', pod, ifname: 'tap0' };
  const tap = { mtu: 1400, mac: '0a:00:00:00:00:09', owner: 7654, group: 7655, multiQueue: true, ipam };
  const added = await call('tap', { command: 'ADD', ...all, conf: tap });
  t.is(added.status, 0, JSON.stringify(added.out));
  t.like(added.out.interfaces[0], { name: 'tap0', mac: tap.mac, sandbox: pod.path });
  const shown = await pod.ip('-d', 'link', 'show', 'tap0');
  t.regex(shown, /mtu 1400[^~]*tun type tap [^~]*multi_queue[^~]*persist on user 7654 group 7655/);
  const later = { ...tap, prevResult: added.out };
  t.is((await call('tap', { command: 'CHECK', ...all, conf: later })).status, 0);
  for (const _ of [1, 2]) t.is((await call('tap', { command: 'DEL', ...all, conf: later })).status, 0);
  t.notRegex(await pod.ip('link'), /tap0/);
  t.deepEqual(leases(), []);
  await pod.ip('link', 'add', 'br0', 'type', 'bridge');
  const port = { ipam: {}, bridge: 'br0' };
  t.is((await call('tap', { command: 'ADD', ...all, conf: port })).status, 0);
  t.regex(await pod.ip('link', 'show', 'tap0'), /master br0/);
  t.is((await call('tap', { command: 'DEL', ...all, conf: port })).status, 0);
  t.is((await call('tap', { command: 'ADD', ...all, conf: { ...port, bridge: 'none' } })).out.code, 7);
  t.is((await call('tap', { command: 'ADD', ...all, conf: { selinuxContext: 'system_u:r:x' } })).out.code, 2);
  t.notRegex(await pod.ip('link'), /tap|tun/);
});
