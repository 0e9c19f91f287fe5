/** What pods get of a host's networks beside an address: a second family, flannel's delegate, bandwidth, what they ask for. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { BRIDGE, podPair, sandbox, setUpInvoke } from '../../support/cni-invoke.ts';
import { createTestNetns } from '../../support/netns.ts';

const never = new AbortController().signal;

test('two families: an address of each podCIDR, from the built-in network and by ipRanges', async (t) => {
  const { open, write, conflist, base } = await setUpInvoke(t);
  const podCidrs = () => ['10.244.1.0/24', 'fd00:244:1::/64'];
  const clusterCidrs = ['10.244.0.0/16', 'fd00:244::/32'];
  const pods = await podPair(t);
  const builtin = open({ mode: 'builtin', podCidrs, clusterCidrs });
  t.deepEqual(await builtin.attach(sandbox(pods[0], 'one'), never), { ips: ['10.244.1.2', 'fd00:244:1::2'] });
  await t.notThrowsAsync(pods[0].run('busybox', ['ping', '-6', '-c1', '-W20', 'fd00:244:1::1']));
  await builtin.detach(sandbox(pods[0], 'one'));
  const ranges = {
    ...BRIDGE,
    capabilities: { ipRanges: true },
    ipam: { type: 'host-local', dataDir: join(base, 'networks') },
  };
  write('10-net.conflist', conflist([ranges]));
  t.like(open({ podCidrs: () => [] }).status(), {
    ready: false,
    message: 'cni config needs ipRanges but no PodCIDR set',
  });
  const network = open({ podCidrs: () => ['10.7.1.0/24', 'fd00:7:1::/64'] });
  t.deepEqual(await network.attach(sandbox(pods[1], 'two'), never), { ips: ['10.7.1.2', 'fd00:7:1::2'] });
  await network.detach(sandbox(pods[1], 'two'));
});

test('flannel: waits for subnet.env, delegates to bridge with its network, MTU and routes; DEL by what ADD kept', async (t) => {
  const { open, write, conflist, base, hostLinks, leases } = await setUpInvoke(t);
  const subnetFile = join(base, 'subnet.env');
  const dataDir = join(base, 'flannel');
  const flannel = {
    type: 'flannel',
    subnetFile,
    dataDir,
    ipam: { dataDir: join(base, 'networks') },
    delegate: { hairpinMode: true, isDefaultGateway: true },
  };
  write(
    '10-flannel.conflist',
    conflist([flannel, { type: 'portmap', capabilities: { portMappings: true } }], {
      name: 'cbr0',
      cniVersion: '0.3.1',
    }),
  );
  const network = open();
  const pod = await createTestNetns(t, 'pod');
  await t.throwsAsync(network.attach(sandbox(pod, 'pod'), never), {
    message:
      /plugin type="flannel" failed \(add\): failed to load flannel 'subnet\.env' file: .*no such file.*is it running.*CNI error 11/,
  });
  writeFileSync(
    subnetFile,
    'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n',
  );
  t.deepEqual(await network.attach(sandbox(pod, 'pod'), never), { ips: ['10.244.1.2'] });
  const [link] = await pod.ipJson<{ mtu: number }>('link', 'show', 'eth0');
  t.is(link!.mtu, 1450);
  t.deepEqual(
    (await pod.ipJson<{ dst: string }>('route')).map(({ dst }) => dst),
    ['default', '10.244.0.0/16', '10.244.1.0/24'],
  );
  t.deepEqual(leases('cbr0'), ['10.244.1.2']);
  t.like(JSON.parse(readFileSync(join(dataDir, 'id-pod'), 'utf8')), {
    type: 'bridge',
    name: 'cbr0',
    cniVersion: '0.3.1',
    ipMasq: false,
    mtu: 1450,
    isGateway: true,
    hairpinMode: true,
  });
  rmSync(subnetFile);
  await network.detach(sandbox(pod, 'pod'));
  await network.detach(sandbox(pod, 'pod'));
  t.deepEqual([leases('cbr0'), readdirSync(dataDir), await hostLinks()], [[], [], ['lo', 'cni0']]);
});

test('the built-in network heeds kubernetes.io/…-bandwidth, and takes the limits away with the pod', async (t) => {
  const { open, host, hostLinks } = await setUpInvoke(t);
  const network = open({ mode: 'builtin' });
  const pod = await createTestNetns(t, 'pod');
  const annotations = { 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '5M' };
  const one = sandbox(pod, 'one', { annotations });
  await network.attach(one, never);
  t.regex(await host.run('tc', ['qdisc']), /tbf .*root .*rate 10Mbit/);
  t.regex(await host.run('tc', ['qdisc']), /tbf .*root .*rate 5Mbit/);
  await open({ mode: 'builtin' }).detach({ ...one, netnsPath: undefined });
  t.deepEqual(await hostLinks(), ['lo', 'cni0']);
  await t.throwsAsync(network.attach({ ...one, annotations: { 'kubernetes.io/egress-bandwidth': '1' } }, never), {
    message: /egress-bandwidth: "1": resource is unreasonably small/,
  });
});

test('addresses and MAC that a pod asks for, where the network’s plugins declare that they listen', async (t) => {
  const { open, write, conflist, ipam, leases } = await setUpInvoke(t);
  const pods = await podPair(t);
  const annotations = { 'berth/pod-ips': '10.9.0.50', 'berth/pod-mac': '02:00:00:00:00:50' };
  write('10-net.conflist', conflist([{ ...BRIDGE, capabilities: { ips: true, mac: true }, ipam: ipam() }]));
  const network = open();
  t.deepEqual(await network.attach(sandbox(pods[0], 'one', { annotations }), never), { ips: ['10.9.0.50'] });
  t.is((await pods[0].ipJson<{ address: string }>('link', 'show', 'eth0'))[0]!.address, '02:00:00:00:00:50');
  await t.throwsAsync(network.attach(sandbox(pods[1], 'two', { annotations }), never), { message: /10\.9\.0\.50/ });
  t.deepEqual(leases(), ['10.9.0.50'], 'it is taken, and stays its owner’s');
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }]));
  t.deepEqual(await open().attach(sandbox(pods[1], 'two', { annotations }), never), { ips: ['10.9.0.51'] });
});
