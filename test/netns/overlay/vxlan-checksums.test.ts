/** R16: network cards and kernels that leave the checksums of packets in packets wrong. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createChecksumGuard } from '../../../cni/overlay/vxlan/checksum-guard.ts';
import { probeChecksums } from '../../../cni/overlay/vxlan/checksum-probe.ts';
import { createVxlan } from '../../../cni/overlay/vxlan/vxlan.ts';
import { readTxChecksumOffload, setTxChecksumOffload } from '../../../src/linux/checksum-offload.ts';
import { findProgram } from '../../../src/linux/exec.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { startPeer } from '../../support/net-peer.ts';
import { createTestNetns } from '../../support/netns.ts';
import { createOverlaySwitch, reaches, VXLAN_DEFAULTS } from '../../support/overlay-hosts.ts';

/** The waits between two tries are an operator's patience, not a test's. */
const hasty: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(Math.min(ms, 50), signal),
};

/** Two nodes with a wire in place of the switch. */
async function setUp(t: ExecutionContext, quality: 'broken' | 'sound') {
  const net = await createOverlaySwitch(t);
  const hosts = [await net.addHost(1), await net.addHost(2)] as const;
  for (const { number } of hosts) await net.netns.ip('link', 'set', `host${number}`, 'nomaster');
  const script = join(import.meta.dirname, '../../support/wire-child.ts');
  const wire = spawn(
    findProgram('nsenter'),
    // `ip netns exec` has /sys show the namespace's links.
    [
      `--net=${net.netns.path}`,
      '--',
      ...['ip', 'netns', 'exec', net.netns.name, process.execPath, script, 'host1', 'host2', quality],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.teardown(() => wire.kill('SIGKILL'));
  await once(wire.stdout, 'data');
  const open = (index: 0 | 1, clock: Clock = hasty) => {
    const deps = { log: silentLogger, clock, hostNetns: hosts[index].path };
    const backend = createVxlan({ ...VXLAN_DEFAULTS, txChecksumOffload: 'auto' }, deps);
    t.teardown(() => backend.close());
    return backend;
  };
  const [one, two] = [open(0), open(1)];
  const data = [
    (await one.ensure(await hosts[0].self())).data,
    (await two.ensure(await hosts[1].self())).data,
  ] as const;
  await one.sync(new Map([['node2', hosts[1].peer('vxlan', data[1])]]));
  await two.sync(new Map([['node1', hosts[0].peer('vxlan', data[0])]]));
  const peers = [await startPeer(t, hosts[0].pod.path), await startPeer(t, hosts[1].pod.path)] as const;
  await peers[1].serve({ name: 'pod2', udp: 53, tcp: 80 });
  return { hosts, one, two, peers, open };
}

const dns = { protocol: 'udp', host: '10.244.2.2', port: 53, timeoutMs: 300 } as const;

test('R16: where checksums arrive wrong they are made in software, and DNS works', async (t) => {
  const { hosts, one, two, peers, open } = await setUp(t, 'broken');
  const [host] = hosts;
  await eventually('pings pass', () => reaches(host.pod, '10.244.2.2'));
  t.is(await peers[0].ask(dns), 'TIMEOUT', 'what people see: pings pass, DNS does not');
  const controller = new AbortController();
  const running = Promise.all([one.run!(controller.signal), two.run!(controller.signal)]);
  const isOff = ({ path }: { path: string }) => readTxChecksumOffload('flannel.1', path) === false;
  await eventually('both nodes have found it out', () => hosts.every(isOff));
  t.is(await peers[0].ask({ ...dns, timeoutMs: undefined }), 'pod2 10.244.1.2');
  t.is(await peers[0].ask({ protocol: 'tcp', host: dns.host, port: 80 }), 'pod2 10.244.1.2');

  // A device that is made anew has it off from the beginning.
  await host.ip('link', 'delete', 'flannel.1');
  await one.sync(new Map());
  t.true(isOff(host));
  controller.abort();
  await running;
  // And the next process leaves it as it is.
  await open(0).ensure(await host.self());
  t.true(isOff(host));
});

test('R16: a peer that answers nobody says nothing about checksums', async (t) => {
  const { hosts, one } = await setUp(t, 'broken');
  const rules = 'table inet wall { chain input { type filter hook input priority 0; iifname flannel.1 drop; }; }';
  await hosts[1].run('nft', ['-f', '-'], { input: rules });
  const controller = new AbortController();
  const running = one.run!(controller.signal);
  // Longer than a try that ends with a word.
  await systemClock.sleep(1500);
  t.true(readTxChecksumOffload('flannel.1', hosts[0].path));
  await hosts[1].run('nft', ['delete', 'table', 'inet', 'wall']);
  await eventually('it answers', () => readTxChecksumOffload('flannel.1', hosts[0].path) === false);
  controller.abort();
  await running;
});

test('R16: where checksums are right the hardware goes on making them', async (t) => {
  const { hosts, one, peers } = await setUp(t, 'sound');
  await eventually('DNS works', async () => (await peers[0].ask(dns)) === 'pod2 10.244.1.2');
  const controller = new AbortController();
  const running = one.run!(controller.signal);
  await systemClock.sleep(500);
  t.true(readTxChecksumOffload('flannel.1', hosts[0].path));
  controller.abort();
  await running;
});

test('R16: the administrator’s word goes before', async (t) => {
  const host = await (await createOverlaySwitch(t)).addHost(1);
  const ensure = async (txChecksumOffload: 'auto' | 'on' | 'off') => {
    const deps = { log: silentLogger, clock: systemClock, hostNetns: host.path };
    const backend = createVxlan({ ...VXLAN_DEFAULTS, txChecksumOffload }, deps);
    await backend.ensure(await host.self());
    backend.close();
    return readTxChecksumOffload('flannel.1', host.path);
  };
  t.true(await ensure('auto'));
  t.false(await ensure('off'));
  t.false(await ensure('auto'), 'what was set stays');
  t.true(await ensure('on'));
  setTxChecksumOffload('flannel.1', false, host.path);
  t.false(await ensure('auto'));
});

test('R16: on a kernel that is known to break them nobody is asked first', async (t) => {
  const host = await (await createOverlaySwitch(t)).addHost(1);
  const backend = createVxlan(VXLAN_DEFAULTS, { log: silentLogger, clock: systemClock, hostNetns: host.path });
  t.teardown(() => backend.close());
  await backend.ensure(await host.self());
  for (const [kernelRelease, isOn] of [
    ['6.1.0-18-amd64', true],
    ['5.4.0-216-generic', false],
  ] as const) {
    const links = () => ['flannel.1'];
    const deps = {
      log: silentLogger,
      clock: hasty,
      hostNetns: host.path,
      links,
      targets: () => undefined,
      kernelRelease,
    };
    const guard = createChecksumGuard('auto', deps);
    guard.apply('flannel.1');
    t.is(readTxChecksumOffload('flannel.1', host.path), isOn, kernelRelease);
    if (!isOn) await t.notThrowsAsync(guard.run(new AbortController().signal), 'ends at once');
  }
});

test('R16: a peer that no route leads to is asked without harm: what is not known is no fault', async (t) => {
  const host = await createTestNetns(t, 'alone');
  await host.ip('addr', 'add', '192.0.2.1/32', 'dev', 'lo');
  const deps = { clock: systemClock, hostNetns: host.path };
  t.is(await probeChecksums('192.0.2.1', '203.0.113.1', deps), 'unknown');
  await host.ip('route', 'add', 'unreachable', '203.0.113.0/24');
  t.is(await probeChecksums('192.0.2.1', '203.0.113.1', deps), 'unknown');
});
