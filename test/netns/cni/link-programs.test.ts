/** Further interfaces by our plugins as programs, in a chain. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createCniCaller, pluginFolders } from '../../support/cni-call.ts';
import { createTestNetns } from '../../support/netns.ts';

test('ours as programs: macvlan, tuning, sbr in a chain, and back', async (t) => {
  const { ours, remove } = pluginFolders();
  t.teardown(remove);
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  await host.ip('link', 'add', 'up0', 'up', 'type', 'veth', 'peer', 'name', 'up1');
  await host.ip('link', 'set', 'up1', 'up');
  const call = createCniCaller(t, host, ours);
  const ipam = { type: 'static', addresses: [{ address: '10.9.0.10/24', gateway: '10.9.0.1' }] };
  const chain = [
    ['macvlan', { master: 'up0', ipam }],
    ['tuning', { dataDir, mtu: 1400 }],
    ['sbr', {}],
  ] as const;
  let prevResult: object | undefined;
  for (const [type, conf] of chain) {
    const { status, out } = call(type, {
      command: 'ADD',
      id: 'one',
      pod,
      ifname: 'net1',
      conf: { ...conf, prevResult },
    });
    t.is(status, 0, JSON.stringify(out));
    prevResult = out;
  }
  t.regex(await pod.ip('link', 'show', 'net1'), /mtu 1400/);
  t.regex(await pod.ip('rule'), /from 10\.9\.0\.10 lookup 100/);
  for (const [type, conf] of chain.toReversed())
    t.is(call(type, { command: 'DEL', id: 'one', pod, ifname: 'net1', conf: { ...conf, prevResult } }).status, 0, type);
  t.notRegex(await pod.ip('rule'), /lookup 100/);
  t.notRegex(await pod.ip('link'), /net1/);
});
