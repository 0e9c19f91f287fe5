/** A network configuration with `dhcp` carried out by the agent's own network: no daemon, no program. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import { findProgram } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { startDhcpServer } from '../../support/dhcp-server.ts';
import { eventually } from '../../support/eventually.ts';
import { listens } from '../../support/listens.ts';
import { createTestNetns } from '../../support/netns.ts';

const never = new AbortController().signal;

/** A host whose pods' network is a bridge with a wire to a DHCP server. */
async function setUp(t: ExecutionContext, leaseSeconds: number) {
  const host = await createTestNetns(t, 'host');
  const server = await createTestNetns(t, 'server');
  await host.ip('link', 'add', 'br0', 'up', 'type', 'bridge');
  await server.ip('link', 'add', 'srv0', 'type', 'veth', 'peer', 'name', 'uplink', 'netns', host.path);
  await host.ip('link', 'set', 'uplink', 'master', 'br0', 'up');
  await server.ip('address', 'add', '10.5.0.1/24', 'dev', 'srv0');
  await server.ip('link', 'set', 'srv0', 'up');
  const udhcpd = await startDhcpServer(t, server, { leaseSeconds });
  const base = mkdtempSync(join(tmpdir(), 'berth-dhcp-agent-'));
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  const socketPath = join(base, 'd.sock');
  const confDir = join(base, 'net.d');
  mkdirSync(confDir);
  const ipam = {
    type: 'dhcp',
    daemonSocketPath: socketPath,
    provide: [{ option: 'host-name', fromArg: 'K8S_POD_NAME' }],
  };
  const plugins = [{ type: 'bridge', bridge: 'br0', ipam }];
  writeFileSync(join(confDir, '10-lan.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: 'lan', plugins }));
  const open = () => {
    const network = createPodNetwork(
      {
        mode: 'directory',
        confDir,
        binDirs: [],
        cacheDir: base,
        dhcpStateDir: join(base, 'leases'),
        podCidrs: () => [],
        hostNetns: host.path,
      },
      { log: silentLogger, clock: systemClock },
    );
    t.teardown(() => network.close());
    return network;
  };
  const pod = await createTestNetns(t, 'pod');
  const sandbox = {
    sandboxId: 'one',
    netnsPath: pod.path,
    namespace: 'default',
    name: 'web',
    uid: 'u',
    hostPorts: [],
  };
  return { host, server, udhcpd, base, socketPath, open, pod, sandbox };
}

test('pods get addresses of the network’s DHCP server, which are renewed over a restart and given back', async (t) => {
  const { server, udhcpd, base, open, pod, sandbox } = await setUp(t, 4);
  const first = open();
  const { ips } = await first.attach(sandbox, never);
  t.regex(ips[0]!, /^10\.5\.0\.\d+$/);
  await server.run('busybox', ['ping', '-c', '1', '-W', '20', ips[0]!]);
  t.regex(await udhcpd.leases(), /web/, 'the server knows the pod by name');
  first.close();
  const second = open();
  t.deepEqual(second.ips('one'), ips);
  const acks = () => udhcpd.log().match(/sending ACK/gi)!.length;
  await eventually('renewed by the second', () => acks() >= 2);
  t.deepEqual(await second.attach(sandbox, never), { ips }, 'as it is');
  await second.detach(sandbox);
  await eventually('given back', async () => /expired/.test(await udhcpd.leases()));
  t.deepEqual(readdirSync(join(base, 'leases')), []);
  t.notRegex(await pod.ip('link'), /eth0/);
});

const reference = join(debianProgramPath(CHECKOUT, cniPlugins), 'dhcp');
const story = existsSync(reference) ? test : test.skip;

story('where the reference daemon listens, it keeps the leases of the agent’s pods', async (t) => {
  const { host, server, udhcpd, base, socketPath, open, pod, sandbox } = await setUp(t, 600);
  const daemon = spawn(findProgram('nsenter'), [`--net=${host.path}`, reference, 'daemon', '-socketpath', socketPath], {
    stdio: 'ignore',
  });
  const exited = once(daemon, 'exit');
  t.teardown(async () => {
    daemon.kill('SIGKILL');
    await exited;
  });
  await eventually('it listens', () => listens(socketPath));
  const network = open();
  const { ips } = await network.attach(sandbox, never);
  await server.run('busybox', ['ping', '-c', '1', '-W', '2', ips[0]!]);
  t.regex(await udhcpd.leases(), /web/, 'the server knows the pod by name');
  t.false(existsSync(join(base, 'leases')), 'the agent keeps none');
  t.deepEqual(await network.attach(sandbox, never), { ips }, 'as it is');
  await network.detach(sandbox);
  await eventually('given back', async () => /expired/.test(await udhcpd.leases()));
  t.notRegex(await pod.ip('link'), /eth0/);
});
