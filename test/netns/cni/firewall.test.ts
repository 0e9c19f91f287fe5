/** The firewall plugin beside the reference one: the same rules, by real traffic, by iptables and by firewalld over a real bus. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { firewallProgram } from '../../../cni/programs/firewall.ts';
import { run } from '../../../src/linux/exec.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { type CniCaller, callOurs, callPrograms } from '../../support/cni-calls.ts';
import { startDbusDaemon, whyNoDbus } from '../../support/dbus-daemon.ts';
import { startFakeFirewalld } from '../../support/firewalld.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const reference = debianProgramPath(CHECKOUT, cniPlugins);
const hasReference = existsSync(reference);
const both = hasReference ? test.serial : test.serial.skip;

function ours(host: TestNetns, systemBus = 'unix:path=/nowhere'): CniCaller {
  const deps = { run, sleep: async () => {}, hostNetns: host.path, systemBus };
  return callOurs(new Map([['firewall', firewallProgram(deps)]]));
}

const theirs = (host: TestNetns, bus = 'unix:path=/nowhere') =>
  callPrograms(reference, host.path, { DBUS_SYSTEM_BUS_ADDRESS: bus });

function confOf(addresses: readonly string[], extra: object = {}, bridge = 'br1') {
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [{ name: bridge }, { name: 'eth0', sandbox: '/run/netns/pod' }],
    ips: addresses.map((address) => ({ address, interface: 1 })),
  };
  return { prevResult, ...extra };
}

async function must(t: ExecutionContext, call: CniCaller, command: string, id: string, conf: object) {
  const { failed, out } = await call({ command, type: 'firewall', id, netns: '/proc/self/ns/net', conf });
  t.false(failed, `${command} ${id}: ${JSON.stringify(out)}`);
  return out;
}

async function rules(host: TestNetns): Promise<string[]> {
  const texts = await Promise.all(
    ['iptables-save', 'ip6tables-save'].map((program) => host.run(program, ['-t', 'filter'])),
  );
  return texts.flatMap((text) => text.split('\n').filter((line) => /^(-A|:CNI)/.test(line)));
}

for (const policy of ['open', 'same-bridge'])
  both(`${policy}: rule for rule the reference plugin’s; either checks and removes what the other made`, async (t) => {
    const addresses = ['10.9.0.2/24', 'fd00:9::2/64'];
    const conf = confOf(addresses, { backend: 'iptables', ingressPolicy: policy });
    const second = confOf(['10.9.0.3/24'], { backend: 'iptables', ingressPolicy: policy });
    const made: string[][] = [];
    for (const [maker, remover] of [
      [ours, theirs],
      [theirs, ours],
    ] as const) {
      const host = await createTestNetns(t, 'host');
      await must(t, maker(host), 'ADD', 'one', conf);
      made.push(await rules(host));
      for (const set of [ours, theirs]) await must(t, set(host), 'CHECK', 'one', conf);
      await must(t, remover(host), 'ADD', 'two', second);
      for (const call of [remover(host), maker(host)]) await must(t, call, 'DEL', 'one', conf);
      t.notRegex((await rules(host)).join('\n'), /10\.9\.0\.2|fd00:9::2/);
      await must(t, remover(host), 'CHECK', 'two', second);
      t.true(
        (await remover(host)({ command: 'CHECK', type: 'firewall', id: 'one', netns: '/proc/self/ns/net', conf }))
          .failed,
      );
      await must(t, ours(host), 'DEL', 'two', second);
      // Of IPv6 the reference plugin took the last rules, and left the chains.
      t.notRegex(
        await host.run('iptables-save', ['-t', 'filter']),
        /CNI-(FORWARD|ISOLATION)/,
        'the last one takes the chains',
      );
    }
    t.deepEqual(made[0]!.toSorted(), made[1]!.toSorted());
  });

/** host with two bridges of two pods each, forwarding and a policy that drops */
async function createBridges(t: ExecutionContext) {
  const host = await createTestNetns(t, 'host');
  for (const key of ['net.ipv4.ip_forward', 'net.bridge.bridge-nf-call-iptables'])
    writeSysctl(key, '1', { netns: host.path });
  const pods: Record<string, TestNetns> = {};
  for (const bridge of [1, 2]) {
    await host.ip('link', 'add', `br${bridge}`, 'type', 'bridge');
    await host.ip('addr', 'add', `10.9.${bridge}.1/24`, 'dev', `br${bridge}`);
    await host.ip('link', 'set', `br${bridge}`, 'up');
    for (const index of [2, 3]) {
      const pod = await createTestNetns(t, `pod${bridge}${index}`);
      const port = `v${bridge}${index}`;
      await host.ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name);
      await host.ip('link', 'set', port, 'master', `br${bridge}`, 'up');
      await pod.ip('addr', 'add', `10.9.${bridge}.${index}/24`, 'dev', 'eth0');
      await pod.ip('link', 'set', 'eth0', 'up');
      await pod.ip('route', 'add', 'default', 'via', `10.9.${bridge}.1`);
      pods[`10.9.${bridge}.${index}`] = pod;
    }
  }
  await host.run('iptables', ['-P', 'FORWARD', 'DROP']);
  const reaches = async (from: string, to: string) => {
    const { code } = await run('busybox', ['ping', '-c1', '-W1', to], { netns: pods[from]!.path, okCodes: [0, 1] });
    return code === 0;
  };
  return { host, reaches };
}

test.serial(
  'traffic: a dropping FORWARD lets containers through; policies keep bridges, and pods of one, apart',
  async (t) => {
    const { host, reaches } = await createBridges(t);
    const call = ours(host);
    const addresses = ['10.9.1.2', '10.9.1.3', '10.9.2.2'];
    const each = async (command: string, policy: string) => {
      for (const address of addresses) {
        const conf = confOf(
          [`${address}/24`],
          { backend: 'iptables', ingressPolicy: policy },
          `br${address.split('.')[2]}`,
        );
        await must(t, call, command, address, conf);
      }
    };
    const look = () => Promise.all(['10.9.2.2', '10.9.1.3', '10.9.1.1'].map((to) => reaches('10.9.1.2', to)));
    t.deepEqual(await look(), [false, false, true], 'the policy of FORWARD');
    await each('ADD', 'open');
    t.deepEqual(await look(), [true, true, true]);
    t.true(await reaches('10.9.1.2', '10.9.2.3'), 'to a pod without the plugin');
    t.false(await reaches('10.9.2.3', '10.9.2.2'), 'but not from it');
    await each('ADD', 'same-bridge');
    t.deepEqual(await look(), [false, true, true], 'same-bridge');
    await each('ADD', 'isolated');
    t.deepEqual(await look(), [false, false, true], 'isolated');
    await each('CHECK', 'isolated');
    // An administrator's rule comes first, and stays.
    await host.run('iptables', ['-A', 'CNI-ADMIN', '-s', '10.9.1.2', '-j', 'RETURN']);
    await each('DEL', 'isolated');
    await each('DEL', 'isolated');
    t.deepEqual(await rules(host), [':CNI-ADMIN - [0:0]', '-A CNI-ADMIN -s 10.9.1.2/32 -j RETURN']);
  },
);

test.serial('DEL without the result of the ADD, GC, and a policy that lost its place; what is refused', async (t) => {
  const host = await createTestNetns(t, 'host');
  const call = ours(host);
  const conf = (address: string, extra: object = {}) => confOf([`${address}/24`], { backend: 'iptables', ...extra });
  await must(t, call, 'ADD', 'one', conf('10.9.0.2'));
  await must(t, call, 'ADD', 'two', conf('10.9.0.3'));
  await must(t, call, 'ADD', 'two', conf('10.9.0.3'));
  t.is((await rules(host)).filter((line) => line.includes('10.9.0.3')).length, 2, 'a second ADD adds nothing');
  await must(t, call, 'DEL', 'one', { backend: 'iptables' });
  t.notRegex((await rules(host)).join(), /10\.9\.0\.2/);
  const gc = (valid: object[], name = 'net') =>
    must(t, call, 'GC', '', { cniVersion: '1.1.0', name, 'cni.dev/valid-attachments': valid });
  await gc([{ containerID: 'two', ifname: 'eth0' }]);
  await gc([], 'other');
  t.regex((await rules(host)).join(), /10\.9\.0\.3/);
  await gc([]);
  t.deepEqual(await rules(host), []);
  await must(t, call, 'DEL', 'nobody', conf('10.9.0.9'));
  await must(t, call, 'ADD', 'one', conf('10.9.0.2', { ingressPolicy: 'same-bridge' }));
  await host.run('iptables', ['-D', 'FORWARD', '1']);
  await host.run('iptables', [
    '-A',
    'FORWARD',
    '-j',
    'CNI-ISOLATION-STAGE-1',
    '-m',
    'comment',
    '--comment',
    'CNI firewall plugin rules (ingressPolicy: same-bridge)',
  ]);
  await must(t, call, 'ADD', 'one', conf('10.9.0.2', { ingressPolicy: 'same-bridge' }));
  t.deepEqual(
    (await rules(host))
      .filter((line) => line.startsWith('-A FORWARD'))
      .map((line) => line.split(' -j ')[1]!.split(' ')[0]),
    ['CNI-ISOLATION-STAGE-1', 'CNI-FORWARD'],
  );
  const refused: [object, RegExp, number][] = [
    [{ ...conf('10.9.0.4'), backend: 'pf' }, /backend: "pf" is not iptables or firewalld/, 7],
    [
      { ...conf('10.9.0.4'), ingressPolicy: 'closed' },
      /ingressPolicy: "closed" is not open or same-bridge or isolated/,
      7,
    ],
    [{ ...conf('10.9.0.4'), iptablesAdminChainName: 'a b' }, /iptablesAdminChainName/, 7],
    [{ backend: 'iptables' }, /missing prevResult/, 7],
    [{ ...conf('10.9.0.4'), cniVersion: '0.3.1' }, /incompatible CNI versions/, 1],
    [
      { ...confOf(['10.9.0.4/24'], { backend: 'iptables', ingressPolicy: 'isolated' }, '') },
      /needs the bridge plugin/,
      7,
    ],
  ];
  for (const [extra, message, code] of refused) {
    const { failed, out } = await call({
      command: 'ADD',
      type: 'firewall',
      id: 'bad',
      netns: '/proc/self/ns/net',
      conf: extra,
    });
    t.deepEqual([failed, out.code], [true, code], JSON.stringify(out));
    t.regex(out.msg, message);
  }
  t.notRegex((await rules(host)).join(), /10\.9\.0\.4/, 'nothing half-made');
});

(whyNoDbus() ? test.serial.skip : test.serial)(
  `firewalld on the bus is used, as by the reference plugin${whyNoDbus() ? ` (${whyNoDbus()})` : ''}`,
  async (t) => {
    const host = await createTestNetns(t, 'host');
    const folder = mkdtempSync(join(tmpdir(), 'berth-firewalld-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const daemon = await startDbusDaemon(folder);
    t.teardown(() => daemon.stop());
    const call = ours(host, daemon.address);
    const conf = confOf(['10.9.0.2/24', 'fd00:9::2/64']);
    // A bus without firewalld.
    await must(t, call, 'ADD', 'one', conf);
    t.regex((await rules(host)).join(), /10\.9\.0\.2/);
    const status = await call({
      command: 'STATUS',
      type: 'firewall',
      id: '',
      conf: { cniVersion: '1.1.0', backend: 'firewalld' },
    });
    t.is(status.out.code, 50);
    const firewalld = await startFakeFirewalld(daemon.address);
    t.teardown(() => firewalld.stop());
    await must(t, call, 'DEL', 'one', conf);
    t.deepEqual([await rules(host), firewalld.sources()], [[], []], 'what was made by iptables goes by iptables');
    const sets = [call, ...(hasReference ? [theirs(host, daemon.address)] : [])];
    for (const [index, set] of sets.entries()) {
      await must(t, set, 'ADD', 'one', conf);
      await must(t, set, 'ADD', 'one', conf);
      t.deepEqual(firewalld.sources(), ['trusted 10.9.0.2/32', 'trusted fd00:9::2/128']);
      t.deepEqual(await rules(host), []);
      for (const one of sets) await must(t, one, 'CHECK', 'one', conf);
      const other = sets[(index + 1) % sets.length]!;
      for (const _ of [1, 2]) await must(t, other, 'DEL', 'one', conf);
      t.deepEqual(firewalld.sources(), []);
    }
    t.true((await call({ command: 'CHECK', type: 'firewall', id: 'one', netns: '/proc/self/ns/net', conf })).failed);
    await must(t, call, 'ADD', 'two', { ...conf, firewalldZone: 'public' });
    const conflict = await call({ command: 'ADD', type: 'firewall', id: 'one', netns: '/proc/self/ns/net', conf });
    t.deepEqual([conflict.failed, conflict.out.code], [true, 5]);
    t.regex(conflict.out.details, /ZONE_CONFLICT/);
    t.deepEqual(firewalld.sources(), ['public 10.9.0.2/32', 'public fd00:9::2/128']);
    // A policy is written by iptables all the same.
    await must(t, call, 'ADD', 'two', { ...conf, firewalldZone: 'public', ingressPolicy: 'same-bridge' });
    const written = (await rules(host)).filter((line) => line.startsWith('-A')).map((line) => line.split(' ')[1]);
    t.deepEqual([...new Set(written)].toSorted(), ['CNI-ISOLATION-STAGE-1', 'CNI-ISOLATION-STAGE-2', 'FORWARD']);
  },
);
