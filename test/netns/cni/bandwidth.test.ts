/** Limits of bandwidth as the kernel has them, as the reference plugin makes and checks them, and as traffic meets them. */
import { existsSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { ifbName } from '../../../cni/plugins/bandwidth.ts';
import { bandwidthProgram } from '../../../cni/programs/bandwidth.ts';
import { run } from '../../../src/linux/exec.ts';
import { callOurs, callPrograms } from '../../support/cni-calls.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const reference = debianProgramPath(CHECKOUT, cniPlugins);
const both = existsSync(reference) ? test.serial : test.serial.skip;

const BITS = 8;
/** 2 MB/s with a bucket of 64 KiB. */
const RATE = 2_000_000 * BITS;
const BURST = 65_536 * BITS;
const LIMITS = { ingressRate: RATE, ingressBurst: BURST, egressRate: RATE, egressBurst: BURST };

/** A host and a pod with a veth pair between them, and a way to call either plugin. */
async function setUp(t: ExecutionContext) {
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  await host.ip('link', 'add', 'veth1', 'mtu', '1450', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name);
  await host.ip('addr', 'add', '10.7.0.1/24', 'dev', 'veth1');
  await host.ip('addr', 'add', '10.7.0.129/24', 'dev', 'veth1');
  await pod.ip('addr', 'add', '10.7.0.2/24', 'dev', 'eth0');
  for (const [netns, link] of [
    [host, 'veth1'],
    [pod, 'eth0'],
  ] as const)
    await netns.ip('link', 'set', link, 'up');
  const program = bandwidthProgram({ run, sleep: async () => {}, hostNetns: host.path });
  const sets = { ours: callOurs(new Map([['bandwidth', program]])), theirs: callPrograms(reference, host.path) };
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [{ name: 'veth1' }, { name: 'eth0', sandbox: pod.path }],
    ips: [{ address: '10.7.0.2/24', interface: 1 }],
  };
  const call = async (set: keyof typeof sets, command: string, extra: object = LIMITS, id = 'one') =>
    sets[set]({ command, type: 'bandwidth', id, netns: pod.path, conf: { prevResult, ...extra } });
  const added = async (set: keyof typeof sets, extra?: object) => {
    const answer = await call(set, 'ADD', extra);
    t.false(answer.failed, JSON.stringify(answer.out));
    return answer.out;
  };
  return { host, pod, call, added };
}

const ifb = ifbName('net', 'one');

async function disciplines(t: ExecutionContext, host: TestNetns): Promise<unknown> {
  const show = async (...what: string[]) => JSON.parse((await host.run('tc', ['-j', ...what])) || '[]');
  const [veth, ifbs, link] = [
    await show('qdisc', 'show', 'dev', 'veth1'),
    await show('qdisc', 'show', 'dev', ifb),
    (await host.ipJson<{ mtu: number; txqlen: number; operstate: string }>('link', 'show', ifb))[0]!,
  ];
  // Debian's redirects twice, by an older library.
  t.regex(
    await host.run('tc', ['filter', 'show', 'dev', 'veth1', 'ingress']),
    new RegExp(`u32 .*[^]*mirred \\(Egress Redirect to device ${ifb}\\)`),
  );
  return { veth, ifbs, mtu: link.mtu };
}

/** Bytes a second that arrive at a listener in `to`, which tells the sender how many there were. */
async function throughput(from: TestNetns, to: TestNetns, address: string, kilobytes: number): Promise<number> {
  const port = '5001';
  const server = to.run('busybox', ['nc', '-l', '-p', port, '-e', 'wc', '-c'], { timeoutMs: 20_000 });
  while ((await to.run('ss', ['-Hltn', `sport = :${port}`])) === '');
  const started = performance.now();
  const send = `dd if=/dev/zero bs=1k count=${kilobytes} 2>/dev/null | busybox nc ${address} ${port}`;
  const bytes = Number(await from.run('sh', ['-c', send], { timeoutMs: 20_000 }));
  const seconds = (performance.now() - started) / 1000;
  await server;
  return bytes / seconds;
}

const LIMIT_BYTES = RATE / BITS;

test.serial('traffic keeps to the limit in both directions; what is excepted does not', async (t) => {
  const { host, pod, added, call } = await setUp(t);
  await added('ours');
  for (const [from, to, address] of [
    [host, pod, '10.7.0.2'],
    [pod, host, '10.7.0.1'],
  ] as const) {
    const rate = await throughput(from, to, address, 1500);
    t.true(rate > 0.25 * LIMIT_BYTES && rate < 1.25 * LIMIT_BYTES, `${Math.round(rate)} B/s of ${LIMIT_BYTES}`);
  }
  t.false((await call('ours', 'DEL')).failed);
  for (const lists of [{ unshapedSubnets: ['10.7.0.128/25'] }, { shapedSubnets: ['10.7.0.0/25'] }]) {
    const limits = { ...LIMITS, ...lists };
    await added('ours', limits);
    t.false((await call('ours', 'CHECK', limits)).failed);
    t.true((await throughput(pod, host, '10.7.0.1', 1000)) < 1.4 * LIMIT_BYTES, JSON.stringify(lists));
    t.true((await throughput(pod, host, '10.7.0.129', 20_000)) > 2 * LIMIT_BYTES, JSON.stringify(lists));
    t.false((await call('ours', 'DEL', limits)).failed);
  }
});

both('ours and the reference plugin make the same of a configuration, and check and remove each other’s', async (t) => {
  const made: Record<string, unknown> = {};
  const limits = {
    runtimeConfig: { bandwidth: { ...LIMITS, ingressRate: 5_000_000_000, ingressBurst: 2_147_483_647 } },
  };
  for (const [maker, remover] of [
    ['ours', 'theirs'],
    ['theirs', 'ours'],
  ] as const) {
    const { host, call, added } = await setUp(t);
    const out = await added(maker, limits);
    t.deepEqual(
      out.interfaces.map(({ name }: { name: string }) => name),
      ['veth1', 'eth0', ifb],
    );
    made[maker] = await disciplines(t, host);
    for (const set of ['ours', 'theirs'] as const) {
      const { failed, out: said } = await call(set, 'CHECK', limits);
      t.false(failed, `${set} checks ${maker}: ${JSON.stringify(said)}`);
    }
    await host.run('tc', [
      'qdisc',
      'replace',
      'dev',
      ifb,
      'root',
      'handle',
      '1:',
      'tbf',
      'rate',
      '1mbit',
      'burst',
      '10k',
      'limit',
      '10k',
    ]);
    for (const set of ['ours', 'theirs'] as const)
      t.true((await call(set, 'CHECK', limits)).failed, `${set} finds another limit`);
    for (const set of [remover, 'ours', 'theirs'] as const) t.false((await call(set, 'DEL', limits)).failed);
    t.notRegex(await host.ip('link'), /bwp/);
  }
  t.deepEqual(made['ours'], made['theirs']);
});

test.serial('the default burst of Kubernetes, slow rates, a second ADD, GC, and what is refused', async (t) => {
  const { host, pod, call, added } = await setUp(t);
  // kubernetes.io/egress-bandwidth: 1k, whose burst takes 25 days
  const slow = { runtimeConfig: { bandwidth: { egressRate: 1000, egressBurst: 2_147_483_647 } } };
  await added('ours', slow);
  t.regex(await host.run('tc', ['qdisc', 'show', 'dev', ifb]), /tbf 1: root .* rate 1Kbit /);
  t.false((await call('ours', 'CHECK', slow)).failed);
  await added('ours');
  t.is((await host.ipJson('link', 'show', 'type', 'ifb')).length, 1);
  t.false((await call('ours', 'CHECK')).failed);
  const gc = (valid: object[]) => call('ours', 'GC', { cniVersion: '1.1.0', 'cni.dev/valid-attachments': valid });
  t.false((await gc([{ containerID: 'one', ifname: 'eth0' }])).failed);
  t.regex(await host.ip('link'), /bwp/);
  t.false((await call('ours', 'GC', { cniVersion: '1.1.0', name: 'other', 'cni.dev/valid-attachments': [] })).failed);
  t.regex(await host.ip('link'), /bwp/, 'another network’s');
  t.false((await gc([])).failed);
  t.notRegex(await host.ip('link'), /bwp/);
  const none = await added('ours', {});
  t.is(none.interfaces.length, 2);
  const refused: [object, RegExp, number][] = [
    [{ ingressRate: 8000 }, /if ingressRate is set, ingressBurst must also be set/, 7],
    [{ egressBurst: 8000 }, /if egressBurst is set, egressRate must also be set/, 7],
    [{ egressRate: 8000, egressBurst: 2 ** 36 }, /more than 4 GiB/, 7],
    [{ egressRate: 4, egressBurst: 8 }, /less than a byte/, 7],
    [{ ...LIMITS, shapedSubnets: ['10.0.0.0/8'], unshapedSubnets: ['10.0.0.0/8'] }, /exclude each other/, 7],
    [{ ...LIMITS, shapedSubnets: ['10.0.0.0/99'] }, /shapedSubnets: .*10\.0\.0\.0\/99/, 7],
    [{ ...LIMITS, prevResult: undefined }, /chained plugin/, 7],
    [{ ...LIMITS, cniVersion: '0.2.0' }, /incompatible CNI versions/, 1],
    [
      { ...LIMITS, prevResult: { cniVersion: '1.0.0', interfaces: [{ name: 'veth9' }], ips: [] } },
      /no host interface/,
      7,
    ],
  ];
  for (const [extra, message, code] of refused) {
    const { failed, out } = await call('ours', 'ADD', extra, 'two');
    t.deepEqual([failed, out.code], [true, code], JSON.stringify(out));
    t.regex(out.msg, message);
  }
  await pod.ip('link', 'set', 'eth0', 'name', 'eth1');
  t.regex((await call('ours', 'ADD', LIMITS, 'two')).out.msg, /eth0 has no veth peer/);
  t.notRegex(await host.ip('link'), /bwp/, 'nothing half-made');
});
