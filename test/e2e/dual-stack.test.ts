/** A cluster with two address families: pods, Services, names, the way out and the way back to the host as it was. */
import test from 'ava';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import type { Node, Pod, Service } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';
import { pod, script, service } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;

const NODE_IP6 = 'fd00:77::7';
const ROUTER_IP6 = 'fd00:77::1';
/** Answers its visitor's address on both families. */
const SERVER = script(`mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho\\necho $REMOTE_ADDR\\n' >/www/cgi-bin/from; chmod +x /www/cgi-bin/from
exec httpd -f -p '[::]:80' -h /www`);

let cluster: ClusterHost;
let router: Host;
let before: HostSnapshot;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('dual');
  router = await createHost('dual-router');
  await cluster.net.plug(router);
  await router.run(['ip', 'address', 'add', `${ROUTER_IP6}/64`, 'dev', 'eth0', 'nodad']);
  await cluster.sh(`ip address add ${NODE_IP6}/64 dev eth0 nodad; ip route add default via ${ROUTER_IP6}`);
  before = await cluster.snapshot();
  await cluster.berthOk(
    'up',
    '--pod-cidr',
    '10.244.0.0/16,fd00:244::/56',
    '--service-cidr',
    '10.96.0.0/16,fd00:96::/112',
  );
  await cluster.loadImages();
});
test.after.always(async () => {
  await router?.close();
  await cluster?.close();
});

story('the node has a share of both ranges, and both its addresses', async (t) => {
  const [node] = await cluster.list<Node>('nodes');
  t.deepEqual(node!.spec.podCIDRs, ['10.244.0.0/24', 'fd00:244::/64']);
  const addresses = node!.status!.addresses!.filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
  t.deepEqual(addresses, [cluster.address, NODE_IP6]);
});

story('pods have an address of each family, and reach each other and the world by both', async (t) => {
  await cluster.apply(pod('one', SERVER, {}, { labels: { app: 'one' } }), pod('two', SERVER));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/one', 'pod/two', '--timeout=60s');
  const [one, two] = await Promise.all(['one', 'two'].map(addresses));
  t.regex(one![0]!, /^10\.244\.0\./);
  t.regex(one![1]!, /^fd00:244::/);
  t.is(await asked('two', one![0]!), two![0]!);
  t.is(await asked('two', `[${one![1]!}]`), two![1]!);
  const onNode = await cluster.try(['curl', '-s', '--max-time', '5', `http://[${one![1]!}]/cgi-bin/from`]);
  t.regex(onNode.stdout, /^\[fd00:/);
  const seen = router.spawn(['busybox', 'httpd', '-f', '-p', `[${ROUTER_IP6}]:8080`, '-h', '/'], { stdio: 'ignore' });
  t.teardown(() => seen.kill());
  await until(
    'the world answers the pod',
    async () => (await cluster.inPod('one', `nc -w 1 ${ROUTER_IP6} 8080 </dev/null`)).code === 0,
  );
});

story('a Service of two families answers at both addresses, by name, and by node port', async (t) => {
  await cluster.apply(service('both', { app: 'one' }, { type: 'NodePort', ipFamilyPolicy: 'RequireDualStack' }));
  const { spec } = await cluster.get<Service>('service', 'both');
  t.deepEqual(spec.ipFamilies, ['IPv4', 'IPv6']);
  t.regex(spec.clusterIPs![1]!, /^fd00:96::/);
  const two = await addresses('two');
  await until('both addresses answer', async () => (await asked('two', `[${spec.clusterIPs![1]!}]`)) === two[1]);
  t.is(await asked('two', spec.clusterIPs![0]!), two[0]!);
  const names = await cluster.inPod('two', 'nslookup both.default.svc.cluster.local');
  for (const ip of spec.clusterIPs!) t.true(names.output.includes(ip), names.output);
  const { nodePort } = spec.ports![0]!;
  for (const ip of [cluster.address, `[${NODE_IP6}]`])
    t.is(
      (
        await cluster.try([
          'curl',
          '-sf',
          '--max-time',
          '5',
          '-o',
          '/dev/null',
          `http://${ip}:${nodePort}/cgi-bin/from`,
        ])
      ).code,
      0,
      ip,
    );
  const refused = await cluster.inPod('two', `nc -w 5 fd00:96::dead 80 </dev/null`);
  t.regex(refused.output, /refused/);
});

story('a further node of the machine: pods reach each other from node to node by both families', async (t) => {
  await cluster.berthOk('node', 'add', 'far');
  await cluster.kubectl('wait', '--for=condition=Ready', 'node/far', '--timeout=60s');
  await cluster.loadImages('/var/lib/berth/nodes/far/disk/disk/var/lib/berth-node/docker.sock');
  await cluster.apply(pod('three', SERVER, { nodeName: 'far' }));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/three', '--timeout=60s');
  const [two, three] = await Promise.all(['two', 'three'].map(addresses));
  for (const [index, host] of [three![0]!, `[${three![1]!}]`].entries()) {
    await until(`${host} answers`, async () => (await asked('two', host)) !== '');
    t.is(await asked('two', host), two![index]!);
  }
});

story('down leaves the host as it was', async (t) => {
  await cluster.berthOk('down', '--purge');
  t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
});

async function addresses(name: string): Promise<string[]> {
  const { status } = await cluster.get<Pod>('pod', name);
  return (status?.podIPs ?? []).map(({ ip }) => ip ?? '');
}

/** The address that a pod is seen with at a web server, else what went wrong. */
async function asked(from: string, host: string): Promise<string> {
  const { output } = await cluster.inPod(from, `wget -q -T 5 -O - http://${host}/cgi-bin/from`);
  return output.trim().replace(/^\[(?:::ffff:)?(.*)\]$/, '$1');
}
