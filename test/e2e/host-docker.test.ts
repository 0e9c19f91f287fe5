/** A host that has a Docker of its own, with all its defaults: FORWARD set to DROP, a bridge, rules. Berth uses that Engine as it is. */
import { once } from 'node:events';
import test from 'ava';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { whyNoDockerd } from '../support/dockerd.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || whyNoDockerd() || 'skip' in kubectl ? test.skip : test.serial;
/** From outside, /var/run would lead to this machine's /run: it is an absolute link. */
const SOCKET = '/run/docker.sock';

let cluster: ClusterHost;
let before: HostSnapshot;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('dockered');
  // Docker sets FORWARD to DROP where it is the one that turns forwarding on, as on a fresh machine.
  await cluster.sh('rm -f /etc/docker/daemon.json; echo 0 >/proc/sys/net/ipv4/ip_forward');
  const dockerd = cluster.host.spawn(['dockerd', '--storage-driver', 'vfs', '--log-level', 'warn'], {
    stdio: 'ignore',
  });
  const ended = once(dockerd, 'close').then(() => Promise.reject(new Error('dockerd ended')));
  await Promise.race([ended, until('Docker answers', async () => !!(await cluster.engine(SOCKET).version()))]);
  ended.catch(() => {});
  before = await cluster.snapshot();
});
test.after.always(() => cluster?.close());

story('Docker has set FORWARD to DROP', (t) => {
  t.true(before.iptables.includes(':FORWARD DROP'));
  t.true(before.iptables.some((line) => line.includes('DOCKER-USER')));
});

story('up uses the Engine that answers', async (t) => {
  await cluster.berthOk('up');
  const found = JSON.parse((await cluster.berthOk('status', '-o', 'json')).stdout);
  t.like(
    found.components.find(({ name }: { name: string }) => name.startsWith('docker')),
    { name: 'docker (host)', healthy: true, pid: null, address: 'unix:///var/run/docker.sock' },
  );
  t.not((await cluster.try(['test', '-e', '/run/berth/docker.pid'])).code, 0);
});

story('demo answers, pods reach each other and Services, another host the NodePort', async (t) => {
  const { stdout } = await cluster.berthOk('demo');
  t.regex(stdout, /PONG/);
  const ip = await cluster.kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
  const visit = (url: string) => cluster.inPod('neighbours', `timeout 5 wget -q -O - ${url}`, SOCKET);
  t.regex((await visit(`http://${ip}/`)).output, /Berth works/);
  const web = await cluster.kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[0].status.podIP}');
  t.regex((await visit(`http://${web}/`)).output, /Berth works/);
  await cluster.net.host.run(['ip', 'address', 'add', '198.51.100.1/24', 'dev', 'br0']);
  const outside = await cluster.net.host.run(['curl', '-s', '--max-time', '5', `http://${cluster.address}:30080/`]);
  t.regex(outside.stdout, /Berth works/);
});

story("Docker's own rules and network stay as they were while Berth runs", async (t) => {
  const rules = (await cluster.snapshot()).iptables;
  const missing = before.iptables.filter((line) => line.includes('DOCKER') && !rules.includes(line));
  t.deepEqual(missing, []);
  t.true(rules.includes(':FORWARD DROP'));
});

story('down leaves Docker and its rules as they were', async (t) => {
  await cluster.berthOk('down', '--purge');
  t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
  t.truthy(await cluster.engine(SOCKET).version());
  t.deepEqual(await cluster.engine(SOCKET).listContainers({}), []);
});

story('without that Docker, up of a new cluster runs an Engine of its own', async (t) => {
  await cluster.sh('kill $(cat /run/docker.pid); while [ -e /run/docker.pid ]; do sleep 0.1; done');
  await cluster.berthOk('up');
  const found = JSON.parse((await cluster.berthOk('status', '-o', 'json')).stdout);
  t.truthy(
    found.components.find(
      ({ name, healthy }: { name: string; healthy: boolean }) => name === 'docker (own)' && healthy,
    ),
  );
  await cluster.berthOk('down', '--purge');
});
