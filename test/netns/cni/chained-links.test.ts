/** sbr and tuning behind an interface plugin: the same calls to ours and to Debian's. vrf is tried in a guest. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createSetCaller, hasReference, type PluginSet } from '../../support/cni-call.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const sets: PluginSet[] = ['ours', 'reference'];
const both = hasReference ? test : test.skip;

async function setUp(t: ExecutionContext, set: PluginSet) {
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  return { pod, dataDir, call: createSetCaller(t, host, set) };
}

/** What a plugin before in the chain would have made: `net1` with an address and routes. */
async function addInterface(pod: TestNetns, name = 'net1', subnet = '10.9.0') {
  await pod.ip('link', 'add', name, 'address', '0a:00:00:00:00:01', 'type', 'veth', 'peer', 'name', `${name}-peer`);
  await pod.ip('address', 'add', `${subnet}.10/24`, 'dev', name);
  await pod.ip('link', 'set', `${name}-peer`, 'up');
  await pod.ip('link', 'set', name, 'up');
  await pod.ip('route', 'add', '10.8.0.0/16', 'via', `${subnet}.7`);
  return {
    cniVersion: '1.0.0',
    interfaces: [{ name, mac: '0a:00:00:00:00:01', sandbox: pod.path }],
    ips: [{ address: `${subnet}.10/24`, gateway: `${subnet}.1`, interface: 0 }],
    routes: [{ dst: '10.8.0.0/16', gw: `${subnet}.7` }],
  };
}

const rulesOf = async (pod: TestNetns) =>
  (await pod.ip('rule')).split('\n').filter((line) => !/lookup (local|main|default)/.test(line) && line !== '');

interface ShownLink {
  mtu: number;
  address: string;
  txqlen?: number;
  flags: string[];
}

const linkOf = async (pod: TestNetns, name: string) => (await pod.ipJson<ShownLink>('link', 'show', name))[0]!;

for (const set of sets) {
  const runs = set === 'ours' || hasReference;
  const story = runs ? test : test.skip;
  const name = (title: string) => `${set}: ${title}${runs ? '' : ' (Debian’s plugins could not be had)'}`;

  story(
    name('sbr: the interface’s routes move to a table of its own, asked by source; DEL takes the rules away'),
    async (t) => {
      const { pod, call } = await setUp(t, set);
      const prevResult = await addInterface(pod);
      // Another attachment has the first table.
      await pod.ip('rule', 'add', 'from', '10.1.1.1', 'table', '100');
      const conf = { prevResult };
      const added = await call('sbr', { command: 'ADD', id: 'one', pod, ifname: 'net1', conf });
      t.is(added.status, 0, JSON.stringify(added.out));
      t.deepEqual(added.out.ips, prevResult.ips, 'the result is echoed');
      t.deepEqual(await rulesOf(pod), ['32764:\tfrom 10.9.0.10 lookup 101', '32765:\tfrom 10.1.1.1 lookup 100']);
      const table = await pod.ip('route', 'show', 'table', '101');
      t.regex(table, /default via 10\.9\.0\.1 dev net1/);
      t.regex(table, /10\.9\.0\.0\/24 dev net1 .*src 10\.9\.0\.10/);
      t.regex(table, /10\.8\.0\.0\/16 via 10\.9\.0\.7 dev net1/);
      t.is(await pod.ip('-4', 'route'), '', 'nothing of it in the main table');
      t.is((await call('sbr', { command: 'CHECK', id: 'one', pod, ifname: 'net1', conf })).status, 0);
      t.is((await call('sbr', { command: 'DEL', id: 'one', pod, ifname: 'net1', conf })).status, 0);
      t.deepEqual(await rulesOf(pod), ['32765:\tfrom 10.1.1.1 lookup 100']);
    },
  );

  story(name('tuning: MAC, MTU, modes, settings; how it was comes back with DEL'), async (t) => {
    const { pod, call, dataDir } = await setUp(t, set);
    const prevResult = await addInterface(pod);
    const before = await linkOf(pod, 'net1');
    const conf = {
      dataDir: join(dataDir, 'tuning'),
      sysctl: { 'net.core.somaxconn': '500', 'net.ipv4.conf.net1.log_martians': '1' },
      promisc: true,
      mtu: 1454,
      allmulti: true,
      prevResult,
    };
    const mac = '0a:00:00:00:00:77';
    const all = { command: 'ADD', id: 'one', pod, ifname: 'net1', args: `MAC=${mac}` } as const;
    const added = await call('tuning', { ...all, conf });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.is(added.out.interfaces[0].mac, mac, 'the result tells the new one');
    const link = await linkOf(pod, 'net1');
    t.like(link, { mtu: 1454, address: mac });
    t.true(['PROMISC', 'ALLMULTI'].every((flag) => link.flags.includes(flag)));
    t.is((await pod.run('cat', ['/proc/sys/net/core/somaxconn'])).trim(), '500');
    t.is((await pod.run('cat', ['/proc/sys/net/ipv4/conf/net1/log_martians'])).trim(), '1');
    const later = { ...conf, prevResult: added.out };
    t.is((await call('tuning', { ...all, command: 'CHECK', conf: later })).status, 0);
    await pod.ip('link', 'set', 'net1', 'mtu', '1300');
    t.not((await call('tuning', { ...all, command: 'CHECK', conf: later })).status, 0, 'another MTU');
    t.deepEqual(readdirSync(conf.dataDir), ['one_net1.json']);
    for (const _ of [1, 2]) t.is((await call('tuning', { ...all, command: 'DEL', conf: later })).status, 0);
    t.deepEqual(await linkOf(pod, 'net1'), before);
    t.deepEqual(readdirSync(conf.dataDir), []);
  });

  story(name('tuning: what is not of the network is refused'), async (t) => {
    const { pod, call, dataDir } = await setUp(t, set);
    const prevResult = await addInterface(pod);
    const add = (extra: object) =>
      call('tuning', { command: 'ADD', id: 'one', pod, ifname: 'net1', conf: { dataDir, prevResult, ...extra } });
    t.regex(
      (await add({ sysctl: { 'kernel.hostname': 'evil' } })).out.msg,
      /invalid net sysctl key: "?kernel.hostname/,
    );
    t.not((await add({ sysctl: { 'net/../kernel/hostname': 'evil' } })).status, 0);
    t.not((await add({ sysctl: { 'net.ipv4.no_such_key': '1' } })).status, 0);
    t.not((await add({ mac: 'nonsense' })).status, 0);
    t.not(
      (await call('tuning', { command: 'ADD', id: 'one', pod, ifname: 'net1', conf: { dataDir } })).status,
      0,
      'unchained',
    );
  });
}

test('ours: sbr of two families, a table of somebody else’s, gateways, source hints; a failed ADD leaves all as it was', async (t) => {
  const { pod, call } = await setUp(t, 'ours');
  const base = await addInterface(pod);
  await pod.ip('address', 'add', 'fd00:9::10/64', 'dev', 'net1', 'nodad');
  const prevResult = { ...base, ips: [...base.ips, { address: 'fd00:9::10/64', gateway: 'fd00:9::1', interface: 0 }] };
  const all = { id: 'one', pod, ifname: 'net1' };
  const main = await pod.ip('route');

  const unreachable = { prevResult, gateways: ['192.168.99.1'] };
  t.not((await call('sbr', { command: 'ADD', ...all, conf: unreachable })).status, 0);
  t.is(await pod.ip('route'), main);
  t.deepEqual(await rulesOf(pod), []);
  t.is(await pod.ip('route', 'show', 'table', 'all', 'dev', 'net1').then((text) => /table 10\d/.test(text)), false);

  t.is((await call('sbr', { command: 'ADD', ...all, conf: { prevResult, table: 5001 } })).status, 0);
  t.deepEqual(await rulesOf(pod), ['32765:\tfrom 10.9.0.10 lookup 5001']);
  t.regex(await pod.ip('-6', 'rule'), /from fd00:9::10 lookup 5001/);
  t.is(await pod.ip('route'), main, 'whose table it is makes its routes');
  // The interface is gone: the result says what its addresses were.
  await pod.ip('link', 'delete', 'net1');
  t.is((await call('sbr', { command: 'DEL', ...all, conf: { prevResult, table: 5001 } })).status, 0);
  t.deepEqual(await rulesOf(pod), []);
  t.notRegex(await pod.ip('-6', 'rule'), /5001/);

  await addInterface(pod);
  await pod.ip('address', 'add', 'fd00:9::10/64', 'dev', 'net1', 'nodad');
  const hinted = { prevResult, addSourceHints: true, gateways: ['10.9.0.2'] };
  t.is((await call('sbr', { command: 'ADD', ...all, conf: hinted })).status, 0);
  t.regex(await pod.ip('route', 'show', 'table', '100'), /default via 10\.9\.0\.2/);
  t.regex(await pod.ip('-6', 'route', 'show', 'table', '101'), /default via fd00:9::1/);
  t.is(
    (await pod.ip('route')).trim(),
    '10.9.0.0/24 dev net1 proto static scope link src 10.9.0.10',
    'the subnet stays, other routes do not',
  );
  t.regex(await pod.ip('-6', 'route'), /fe80::\/64 dev net1/);
  t.is((await call('sbr', { command: 'CHECK', ...all, conf: { ...hinted, prevResult } })).status, 0);
  await pod.ip('rule', 'delete', 'from', '10.9.0.10');
  t.regex(
    (await call('sbr', { command: 'CHECK', ...all, conf: hinted })).out.msg,
    /no routing rule for what comes from 10\.9\.0\.10\/32/,
  );
  t.is((await call('sbr', { command: 'DEL', ...all, conf: hinted })).status, 0);
  t.is(
    (await call('sbr', { command: 'DEL', ...all, netns: '/run/netns/none', conf: hinted })).status,
    0,
    'no namespace',
  );
  t.is(
    (await call('sbr', { command: 'ADD', ...all, conf: { prevResult, gateways: ['10.9.0.2', '10.9.0.3'] } })).out.code,
    7,
  );
});

test('ours: tuning’s allow list, its placeholder, arguments of one container, queue length; a failed ADD leaves all as it was', async (t) => {
  const { pod, call, dataDir } = await setUp(t, 'ours');
  const prevResult = await addInterface(pod, 'net.7');
  const before = await linkOf(pod, 'net.7');
  const all = { id: 'one', pod, ifname: 'net.7' };
  const add = (extra: object) => call('tuning', { command: 'ADD', ...all, conf: { dataDir, prevResult, ...extra } });
  const somaxconn = async () => (await pod.run('cat', ['/proc/sys/net/core/somaxconn'])).trim();
  const was = await somaxconn();

  t.not(
    (await add({ sysctl: { 'net.core.somaxconn': '77' }, mtu: 1400, mac: 'ff:ff:ff:ff:ff:ff' })).status,
    0,
    'the kernel refuses that MAC',
  );
  t.is(await somaxconn(), was);
  t.deepEqual(await linkOf(pod, 'net.7'), before);
  t.deepEqual(readdirSync(dataDir), []);

  const added = await add({
    mtu: 1400,
    txQLen: 55,
    sysctl: { 'net.ipv4.conf.IFNAME.log_martians': '0', 'net.ipv4.tcp_rmem': '4096 87380 6291456' },
    args: { cni: { mtu: 1402, sysctl: { 'net.ipv4.conf.IFNAME.log_martians': '1' } } },
  });
  t.is(added.status, 0, JSON.stringify(added.out));
  t.like(await linkOf(pod, 'net.7'), { mtu: 1402, txqlen: 55 });
  t.is((await pod.run('cat', ['/proc/sys/net/ipv4/conf/net.7/log_martians'])).trim(), '1');
  const conf = { dataDir, prevResult, txQLen: 55, sysctl: { 'net.ipv4.tcp_rmem': '4096 87380 6291456' } };
  t.is((await call('tuning', { command: 'CHECK', ...all, conf })).status, 0, 'blanks and tabs are the same');
  // A second ADD (the first was killed before it could tell) does not take the changed interface for how it was.
  t.is((await add({ mtu: 1300 })).status, 0);
  t.is((await call('tuning', { command: 'DEL', ...all, conf })).status, 0);
  t.is((await linkOf(pod, 'net.7')).mtu, before.mtu);

  // GC knows its own network's files.
  for (const id of ['gone', 'kept'])
    t.is((await call('tuning', { command: 'ADD', ...all, id, conf: { ...conf, mtu: 1400 } })).status, 0);
  writeFileSync(join(dataDir, 'theirs_eth0.json'), '{"mtu":1500}');
  const newest = {
    ...conf,
    prevResult: undefined,
    cniVersion: '1.1.0',
    'cni.dev/valid-attachments': [{ containerID: 'kept', ifname: 'net.7' }],
  };
  t.is((await call('tuning', { command: 'GC', conf: newest })).status, 0);
  t.deepEqual(readdirSync(dataDir).toSorted(), ['kept_net.7.json', 'theirs_eth0.json']);
  t.is((await call('tuning', { command: 'DEL', id: 'kept', ifname: 'net.7', conf })).status, 0, 'no namespace');
  t.deepEqual(readdirSync(dataDir), ['theirs_eth0.json']);

  const twice = { sysctl: { 'net.core.somaxconn': '5', 'net/core/somaxconn': '6' } };
  t.regex((await add(twice)).out.msg, /duplicated sysctl keys/);
  mkdirSync('/etc/cni/tuning', { recursive: true });
  t.false(existsSync('/etc/cni/tuning/allowlist.conf'));
  t.teardown(() => rmSync('/etc/cni/tuning/allowlist.conf', { force: true }));
  writeFileSync('/etc/cni/tuning/allowlist.conf', '^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n\n');
  t.regex((await add({ sysctl: { 'net.core.somaxconn': '5' } })).out.msg, /Sysctl net.core.somaxconn is not allowed/);
  t.is((await add({ sysctl: { 'net.ipv4.conf.IFNAME.log_martians': '1' } })).status, 0);
  writeFileSync('/etc/cni/tuning/allowlist.conf', '[\n');
  t.regex((await add({ sysctl: { 'net.core.somaxconn': '5' } })).out.msg, /"\[" is no regular expression/);
});

both('sbr and tuning: what one set did the other undoes', async (t) => {
  for (const [maker, remover] of [
    ['ours', 'reference'],
    ['reference', 'ours'],
  ] as const) {
    const { pod, call, dataDir } = await setUp(t, maker);
    const prevResult = await addInterface(pod);
    const before = await linkOf(pod, 'net1');
    const all = { id: 'one', pod, ifname: 'net1' };
    const tuning = { dataDir, prevResult, mtu: 1333, mac: '0a:00:00:00:00:33', promisc: true };
    t.is((await call('tuning', { command: 'ADD', ...all, conf: tuning })).status, 0);
    t.is((await call('sbr', { command: 'ADD', ...all, conf: { prevResult } })).status, 0);
    t.is((await call('tuning', { command: 'CHECK', ...all, conf: tuning }, remover)).status, 0);
    t.is((await call('sbr', { command: 'DEL', ...all, conf: { prevResult } }, remover)).status, 0);
    t.is((await call('tuning', { command: 'DEL', ...all, conf: tuning }, remover)).status, 0);
    t.deepEqual(await rulesOf(pod), []);
    t.deepEqual(await linkOf(pod, 'net1'), before);
    t.deepEqual(readdirSync(dataDir), []);
  }
});
