/** A network configuration with `dhcp` carried out by the agent's own network: no daemon, no program. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { startDhcpServer } from '../../support/dhcp-server.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns } from '../../support/netns.ts';

const never = new AbortController().signal;

test('pods get addresses of the network’s DHCP server, which are renewed over a restart and given back', async (t) => {
  const host = await createTestNetns(t, 'host');
  const server = await createTestNetns(t, 'server');
  await host.ip('link', 'add', 'br0', 'up', 'type', 'bridge');
  await server.ip('link', 'add', 'srv0', 'type', 'veth', 'peer', 'name', 'uplink', 'netns', host.path);
  await host.ip('link', 'set', 'uplink', 'master', 'br0', 'up');
  await server.ip('address', 'add', '10.5.0.1/24', 'dev', 'srv0');
  await server.ip('link', 'set', 'srv0', 'up');
  const udhcpd = await startDhcpServer(t, server, { leaseSeconds: 4 });
  const base = mkdtempSync(join(tmpdir(), 'berth-dhcp-agent-'));
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  const confDir = join(base, 'net.d');
  mkdirSync(confDir);
  const ipam = {
    type: 'dhcp',
    daemonSocketPath: join(base, 'none.sock'),
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
