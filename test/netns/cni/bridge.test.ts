/** bridge and ptp with each of their keys: the same calls to ours and to Debian's reference plugins. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readSysctl } from '../../../src/linux/sysctl.ts';
import { createSetCaller, hasReference, type PluginSet } from '../../support/cni-call.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

async function setUp(t: ExecutionContext, set: PluginSet) {
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cni-data-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const dual = [[{ subnet: '10.9.0.0/24' }], [{ subnet: 'fd00:9::/64' }]];
  const ipam = (ranges: object[][] = [[{ subnet: '10.9.0.0/24' }]]) => ({ type: 'host-local', dataDir, ranges });
  const leases = () => readdirSync(join(dataDir, 'net')).filter((name) => /^(\d+\.|fd)/.test(name));
  /** Rules of the nat tables as iptables lists them. */
  const nat = async () => {
    const texts = await Promise.all(['iptables', 'ip6tables'].map((name) => host.run(name, ['-t', 'nat', '-S'])));
    return texts
      .join('')
      .split('\n')
      .filter((line) => line.startsWith('-A'));
  };
  return { host, pod, call: createSetCaller(t, host, set), ipam, dual, leases, nat };
}

/** An uplink of the host with somebody on its other side, whom containers reach through the host only. */
async function neighbour(t: ExecutionContext, host: TestNetns): Promise<TestNetns> {
  const outside = await createTestNetns(t, 'outside');
  await host.ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside.name);
  await host.ip('address', 'add', '192.0.2.1/24', 'dev', 'up0');
  await host.ip('link', 'set', 'up0', 'up');
  await outside.ip('address', 'add', '192.0.2.2/24', 'dev', 'eth0');
  await outside.ip('link', 'set', 'eth0', 'up');
  return outside;
}

const pings = (from: TestNetns, address: string) =>
  from.run('busybox', ['ping', '-c', '1', '-W', '2', address]).then(
    () => true,
    () => false,
  );

/** The reference plugins' IPv6 addresses are in use a second later. */
async function reaches(from: TestNetns, address: string): Promise<boolean> {
  for (let attempt = 0; attempt < 5; attempt++) if (await pings(from, address)) return true;
  return false;
}

for (const set of ['ours', 'reference'] as const) {
  const isHere = set === 'ours' || hasReference;
  const story = isHere ? test : test.skip;
  const name = (title: string) => `${set}: ${title}${isHere ? '' : ' (Debian’s plugins could not be had)'}`;

  story(name('the last network that brings a default route has it, whatever the container had before'), async (t) => {
    const { pod, call, ipam } = await setUp(t, set);
    await pod.ip('link', 'add', 'before', 'type', 'veth', 'peer', 'name', 'other');
    for (const link of ['before', 'other']) await pod.ip('link', 'set', link, 'up');
    await pod.ip('address', 'add', '192.0.2.1/24', 'dev', 'before');
    await pod.ip('route', 'add', 'default', 'via', '192.0.2.2');
    const conf = { bridge: 'br0', isDefaultGateway: true, ipam: ipam() };
    const { status, out } = await call('bridge', { command: 'ADD', id: 'one', pod, conf });
    t.is(status, 0, JSON.stringify(out));
    t.regex(await pod.ip('route', 'get', '198.51.100.1'), /via 10\.9\.0\.1 dev eth0/);
    t.is((await call('bridge', { command: 'DEL', id: 'one', pod, conf })).status, 0);
    t.regex(await pod.ip('route', 'get', '198.51.100.1'), /via 192\.0\.2\.2 dev before/);
  });

  story(name('bridge with two families: addresses, routes, forwarding, no router advertisements'), async (t) => {
    const { host, pod, call, ipam, dual, leases } = await setUp(t, set);
    const conf = { bridge: 'br0', isDefaultGateway: true, ipam: ipam(dual), mtu: 1400 };
    const added = await call('bridge', { command: 'ADD', id: 'one', pod, conf });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.deepEqual(added.out.ips, [
      { interface: 2, address: '10.9.0.2/24', gateway: '10.9.0.1' },
      { interface: 2, address: 'fd00:9::2/64', gateway: 'fd00:9::1' },
    ]);
    t.deepEqual(added.out.routes, [
      { dst: '0.0.0.0/0', gw: '10.9.0.1' },
      { dst: '::/0', gw: 'fd00:9::1' },
    ]);
    for (const { mac } of added.out.interfaces) t.regex(mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    for (const address of ['10.9.0.1', 'fd00:9::1']) t.true(await reaches(pod, address), address);
    t.regex(await pod.ip('-6', 'route'), /default via fd00:9::1 dev eth0/);
    const netns = host.path;
    t.is(readSysctl('net/ipv4/ip_forward', { netns }), '1');
    t.is(readSysctl('net/ipv6/conf/all/forwarding', { netns }), '1');
    t.is(readSysctl('net/ipv6/conf/br0/accept_ra', { netns }), '0');
    t.is(readSysctl('net/ipv4/conf/eth0/arp_notify', { netns: pod.path }), '1');
    t.regex(await host.ip('link', 'show', 'br0'), /mtu 1400/);
    t.regex(await pod.ip('link', 'show', 'eth0'), /mtu 1400/);
    t.is(
      (await call('bridge', { command: 'CHECK', id: 'one', pod, conf: { ...conf, prevResult: added.out } })).status,
      0,
    );
    const twice = await call('bridge', { command: 'ADD', id: 'one', pod, conf });
    t.not(twice.status, 0, 'the interface is there already');
    t.true(await reaches(pod, '10.9.0.1'), 'and it stays as it is');
    t.is((await call('bridge', { command: 'DEL', id: 'one', pod, conf })).status, 0);
    t.deepEqual(leases(), []);
  });

  story(
    name('bridge without addresses, with the MAC that is asked for, promiscuous; hairpin beside is refused'),
    async (t) => {
      const { host, pod, call } = await setUp(t, set);
      const macs = ['0a:00:00:00:00:01', '0a:00:00:00:00:02', '0a:00:00:00:00:03'];
      const conf = {
        bridge: 'br0',
        promiscMode: true,
        ipam: {},
        args: { cni: { mac: macs[1] } },
        capabilities: { mac: true },
        runtimeConfig: { mac: macs[2] },
      };
      const wanted: [string, object][] = [
        [macs[2]!, conf],
        [macs[1]!, { ...conf, runtimeConfig: {} }],
        [macs[0]!, { ...conf, runtimeConfig: {}, args: {} }],
      ];
      for (const [index, [mac, each]] of wanted.entries()) {
        const args = `IgnoreUnknown=1;MAC=${macs[0]}`;
        const ifname = `net${index}`;
        const added = await call('bridge', { command: 'ADD', id: 'one', pod, ifname, conf: each, args });
        t.is(added.status, 0, JSON.stringify(added.out));
        t.is(added.out.interfaces[2].mac, mac);
        t.deepEqual(added.out.ips ?? [], []);
        t.regex(await pod.ip('-o', 'link', 'show', ifname), new RegExp(`state UP.*${mac}`));
      }
      t.regex(await host.ip('link', 'show', 'br0'), /PROMISC/);
      const both = await call('bridge', {
        command: 'ADD',
        id: 'two',
        pod,
        ifname: 'n2',
        conf: { ...conf, hairpinMode: true },
      });
      t.regex(both.out.msg, /cannot set hairpin mode and promiscuous mode at the same time/);
      for (const index of [0, 1, 2])
        t.is((await call('bridge', { command: 'DEL', id: 'one', pod, ifname: `net${index}`, conf })).status, 0);
      t.notRegex(await host.ip('link'), /veth/);
    },
  );

  story(
    name('ipMasq by iptables: what leaves the subnet has the host’s address; the rules go with the pod'),
    async (t) => {
      const { host, pod, call, ipam, dual, nat } = await setUp(t, set);
      const outside = await neighbour(t, host);
      const other = await createTestNetns(t, 'other');
      const conf = { bridge: 'br0', isDefaultGateway: true, ipMasq: true, ipam: ipam(dual) };
      const before = await nat();
      t.is((await call('bridge', { command: 'ADD', id: 'one', pod, conf })).status, 0);
      t.is((await call('bridge', { command: 'ADD', id: 'two', pod: other, conf })).status, 0);
      t.true(await reaches(pod, '192.0.2.2'), 'outside has no route back to the pod');
      t.true(await reaches(pod, '10.9.0.3'));
      t.true(await reaches(outside, '192.0.2.1'));
      const rules = await nat();
      t.is(rules.length, before.length + 12);
      const own = rules.filter((rule) => rule.includes('id: \\"one\\"'));
      t.deepEqual(
        own.map((rule) => rule.replaceAll(/CNI-[0-9a-f]{24}/g, 'CHAIN').replace(/-m comment --comment .* -j/, '-j')),
        [
          '-A POSTROUTING -s 10.9.0.2/32 -j CHAIN',
          '-A CHAIN -d 10.9.0.0/24 -j ACCEPT',
          '-A CHAIN ! -d 224.0.0.0/4 -j MASQUERADE',
          '-A POSTROUTING -s fd00:9::2/128 -j CHAIN',
          '-A CHAIN -d fd00:9::/64 -j ACCEPT',
          '-A CHAIN ! -d ff00::/8 -j MASQUERADE',
        ],
      );
      t.is((await call('bridge', { command: 'DEL', id: 'one', pod, conf })).status, 0);
      t.is((await nat()).length, before.length + 6);
      t.is((await call('bridge', { command: 'DEL', id: 'two', pod: other, conf })).status, 0);
      t.deepEqual(await nat(), before);
    },
  );

  story(name('macspoofchk: a pod sends from its own MAC only'), async (t) => {
    const { host, pod, call, ipam } = await setUp(t, set);
    const conf = { bridge: 'br0', isGateway: true, macspoofchk: true, ipam: ipam() };
    const added = await call('bridge', { command: 'ADD', id: 'one', pod, conf });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.true(await reaches(pod, '10.9.0.1'));
    const rules = await host.run('nft', ['list', 'table', 'bridge', 'nat']);
    t.regex(rules, new RegExp(`iifname "${added.out.interfaces[1].name}" jump cni-br-iface-one-eth0`));
    t.regex(rules, new RegExp(`ether saddr ${added.out.interfaces[2].mac} return`));
    await pod.ip('link', 'set', 'eth0', 'address', '0a:00:00:00:00:99');
    t.false(await pings(pod, '10.9.0.1'));
    t.is((await call('bridge', { command: 'DEL', id: 'one', pod, conf })).status, 0);
    t.notRegex(await host.run('nft', ['list', 'table', 'bridge', 'nat']), /one-eth0/);
  });

  story(name('ptp: traffic only by the host, with a route to each pod there'), async (t) => {
    const { host, pod, call, ipam, dual, leases, nat } = await setUp(t, set);
    const outside = await neighbour(t, host);
    const other = await createTestNetns(t, 'other');
    const plan = { ...ipam(dual), routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] };
    const conf = { ipMasq: true, mtu: 1400, ipam: plan, dns: { nameservers: ['10.9.0.1'] } };
    const before = await nat();
    const added = await call('ptp', { command: 'ADD', id: 'one', pod, conf });
    t.is(added.status, 0, JSON.stringify(added.out));
    t.like(added.out.interfaces[1], { name: 'eth0', sandbox: pod.path });
    t.deepEqual(
      added.out.ips.map(({ interface: index }: { interface: number }) => index),
      [1, 1],
    );
    t.deepEqual(added.out.dns, { nameservers: ['10.9.0.1'] });
    t.is((await call('ptp', { command: 'ADD', id: 'two', pod: other, conf })).status, 0);
    for (const address of ['10.9.0.1', '10.9.0.3', 'fd00:9::3', '192.0.2.2'])
      t.true(await reaches(pod, address), address);
    const veth = added.out.interfaces[0].name;
    t.regex(await host.ip('route'), new RegExp(`^10\\.9\\.0\\.2 dev ${veth}`, 'm'));
    t.regex(await host.ip('-6', 'route'), new RegExp(`^fd00:9::2 dev ${veth}`, 'm'));
    t.regex(await host.ip('-o', 'address', 'show', 'dev', veth), /10\.9\.0\.1\/32/);
    if (set === 'ours') t.is(readSysctl(`net/ipv6/conf/${veth}/accept_ra`, { netns: host.path }), '0');
    const routes = await pod.ip('route');
    t.regex(routes, /10\.9\.0\.0\/24 via 10\.9\.0\.1 dev eth0/);
    t.regex(routes, /10\.9\.0\.1 dev eth0 (proto static )?scope link/);
    t.regex(await pod.ip('-6', 'route'), /fd00:9::\/64 via fd00:9::1 dev eth0/);
    t.true(await reaches(outside, '192.0.2.1'));
    t.is((await call('ptp', { command: 'CHECK', id: 'one', pod, conf: { ...conf, prevResult: added.out } })).status, 0);
    for (const _ of [1, 2]) t.is((await call('ptp', { command: 'DEL', id: 'one', pod, conf })).status, 0);
    t.is((await call('ptp', { command: 'DEL', id: 'two', pod: other, conf })).status, 0);
    t.deepEqual([leases(), await nat()], [[], before]);
    t.notRegex(await host.ip('link'), /veth/);
  });

  story(name('loopback tells what lo has; CHECK wants it up; DEL takes it down, with no namespace too'), async (t) => {
    const { pod, call } = await setUp(t, set);
    await pod.ip('link', 'set', 'lo', 'down');
    const added = await call('loopback', { command: 'ADD', id: 'one', pod, ifname: 'lo' });
    t.like(added.out.interfaces[0], { name: 'lo', mac: '00:00:00:00:00:00', sandbox: pod.path });
    t.deepEqual(
      added.out.ips.map(({ address }: { address: string }) => address),
      ['127.0.0.1/8', '::1/128'],
    );
    const conf = { prevResult: added.out };
    t.is((await call('loopback', { command: 'CHECK', id: 'one', pod, ifname: 'lo', conf })).status, 0);
    for (const _ of [1, 2]) t.is((await call('loopback', { command: 'DEL', id: 'one', pod, ifname: 'lo' })).status, 0);
    t.notRegex(await pod.ip('link', 'show', 'lo'), /,UP/);
    t.not((await call('loopback', { command: 'CHECK', id: 'one', pod, ifname: 'lo', conf })).status, 0);
    t.is((await call('loopback', { command: 'DEL', id: 'one', netns: '/run/netns/none', ifname: 'lo' })).status, 0);
  });
}

const both = hasReference ? test : test.skip;

both('masquerade and spoof check of one set are taken away by the other, either way', async (t) => {
  for (const [maker, remover] of [
    ['ours', 'reference'],
    ['reference', 'ours'],
  ] as const)
    for (const type of ['bridge', 'ptp']) {
      const { host, pod, call, ipam, dual, nat } = await setUp(t, maker);
      const conf = { bridge: 'br0', isGateway: true, ipMasq: true, macspoofchk: true, ipam: ipam(dual) };
      t.is((await call(type, { command: 'ADD', id: 'one', pod, conf })).status, 0);
      t.is((await nat()).filter((rule) => rule.includes('id: \\"one\\"')).length, 6);
      t.is((await call(type, { command: 'DEL', id: 'one', pod, conf }, remover)).status, 0);
      t.deepEqual(
        (await nat()).filter((rule) => rule.includes('CNI-')),
        [],
      );
      t.notRegex(await host.run('nft', ['list', 'ruleset']), /one-eth0/);
      t.notRegex(await host.ip('link'), /veth/);
    }
});
