/** R17: whatever was used, nothing of it is left on the host but what was there before. */
import { existsSync } from 'node:fs';
import test from 'ava';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { bird, debianProgramPath } from '../../cli/testing/debian-program.ts';
import type { Pod } from '../../src/kube/types.ts';
import { installBird } from '../support/bird.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots } from '../support/host-snapshot.ts';
import { httpServer, pod } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;

let cluster: ClusterHost;
test.after.always(() => cluster?.close());

/** What an administrator has on a machine; each in a place where careless tools flush. */
const FOREIGN = `
iptables -N ADMIN && iptables -A ADMIN -p tcp --dport 22 -j ACCEPT && iptables -I INPUT -j ADMIN
iptables -P FORWARD DROP && iptables -A FORWARD -s 203.0.113.0/24 -j ACCEPT
iptables -t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE
ip6tables -A INPUT -p ipv6-icmp -j ACCEPT
nft add table inet admin && nft add chain inet admin input '{ type filter hook input priority 5; }' && nft add rule inet admin input tcp dport 23 drop
ip link add br-admin type bridge && ip address add 203.0.113.1/24 dev br-admin && ip link set br-admin up
ip link add tunnel type vxlan id 77 dstport 4789 local 198.51.100.10 && ip link set tunnel up
ip route add 192.0.2.0/24 via 203.0.113.9 proto static && ip rule add from 203.0.113.0/24 table 77 && ip route add default dev br-admin table 77
sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.tcp_keepalive_time=600
mkdir -p /etc/cni/net.d /opt/cni/bin && echo admin >/opt/cni/bin/admins-plugin
`;
/** By names and content; what logs and stores keep is data. */
const FILES = `find /etc /opt/cni /run /var/lib/cni -xdev \\( -type f -o -type l -o -type d \\) ! -path '/run/lock*' -printf '%p %y %m\\n' 2>/dev/null | sort; find /etc /opt/cni -xdev -type f -exec sha256sum {} + 2>/dev/null | sort`;

const CONFLIST = JSON.stringify({
  cniVersion: '1.0.0',
  name: 'everything',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni7',
      isDefaultGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.0.0/24' }]] },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'bandwidth', capabilities: { bandwidth: true } },
    { type: 'firewall' },
    { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } },
  ],
});
const OTHER_NETWORK = JSON.stringify({
  cniVersion: '1.0.0',
  name: 'other',
  type: 'bridge',
  bridge: 'cni8',
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.245.0.0/24' }]] },
});
const PODS = [
  pod('shaped', { ...httpServer(8080), ports: [{ containerPort: 8080, hostPort: 8088 }] }),
  pod('plain', httpServer(8080)),
];

const isReady = ({ status }: Pod) => status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True');
const podsRun = () =>
  until('pods run', async () => {
    const pods = await cluster.list<Pod>('pods');
    return pods.length === PODS.length && pods.every(isReady);
  });

/** The host before and after, as an administrator would compare it. */
async function look() {
  return { kernel: await cluster.snapshot(), files: new Set((await cluster.sh(FILES)).split('\n')) };
}

async function isAsBefore(t: import('ava').ExecutionContext, before: Awaited<ReturnType<typeof look>>): Promise<void> {
  const after = await look();
  t.deepEqual(diffSnapshots(before.kernel, after.kernel), []);
  const lost = [...before.files].filter((line) => !after.files.has(line));
  const left = [...after.files].filter((line) => !before.files.has(line));
  t.deepEqual({ lost, left }, { lost: [], left: [] });
}

story('R17: VXLAN, a network configuration of all our plugins, installed plugins: gone without a trace', async (t) => {
  cluster = await createClusterHost('clean');
  await cluster.sh(FOREIGN);
  const bare = await look();
  await cluster.berthOk('cni', 'install');
  await cluster.sh(`cat >/etc/cni/net.d/10-everything.conflist <<'END'\n${CONFLIST}\nEND`);
  const before = await look();

  await cluster.berthOk('up', '--overlay-backend', 'vxlan');
  await cluster.loadImages();
  const [shaped, plain] = PODS as { metadata: { annotations?: object } }[];
  shaped!.metadata.annotations = { 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '10M' };
  await cluster.apply(shaped!, plain!);
  await podsRun();
  t.is((await cluster.sh(`curl -sf http://${cluster.address}:8088/`)).trim(), 'shaped');
  const links = await cluster.sh('ip -o link; ls /var/lib/cni/networks');
  for (const name of ['flannel.1', 'cni7', 'bwp', 'everything']) t.true(links.includes(name), name);
  const doctor = await cluster.berth('doctor');
  t.regex(doctor.stdout, /^pod network +ok +everything \(\/etc\/cni\/net\.d/m, doctor.stderr);

  await cluster.berthOk('down', '--purge');
  await isAsBefore(t, before);
  await cluster.sh('rm /etc/cni/net.d/10-everything.conflist');

  // Another runtime calls the programs; the bridge that stays behind its last container goes with them.
  await cluster.sh(`ip netns add other
call() { printf '%s' '${OTHER_NETWORK}' | CNI_COMMAND=$1 CNI_CONTAINERID=other CNI_NETNS=/run/netns/other CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin /opt/cni/bin/bridge; }
call ADD; call DEL; ip netns delete other; umount /run/netns; rm -r /var/lib/cni /run/netns`);
  t.regex(await cluster.sh('ip -o link'), /cni8/);
  t.regex((await cluster.berthOk('cni', 'uninstall')).stderr, /Bridges without pods removed: cni8/);
  await isAsBefore(t, bare);

  // On a host that never had plugins the folder is ours too.
  await cluster.sh('rm -r /opt/cni');
  await cluster.berthOk('cni', 'install');
  for (const _ of [1, 2]) await cluster.berthOk('cni', 'uninstall');
  await cluster.sh('test ! -e /opt/cni');
});

const hasBird = existsSync(debianProgramPath(CHECKOUT, bird));

const whyNotBgp = process.env['BERTH_TEST_FULL'] !== '1' ? 'with --full only' : hasBird ? '' : 'no bird2 from Debian';
(whyNotBgp === '' ? story : test.skip)(
  `R17: backend bgp: BIRD and its routes go with the node${whyNotBgp && ` (${whyNotBgp})`}`,
  async (t) => {
    installBird(cluster.host.path('/opt/bird'));
    await cluster.sh('mkdir /etc/kube-flannel');
    const configuration = { Network: '10.244.0.0/16', Backend: { Type: 'bgp', BirdProgram: '/opt/bird/bird' } };
    await cluster.sh(`echo '${JSON.stringify(configuration)}' >/etc/kube-flannel/net-conf.json`);
    const before = await look();
    await cluster.berthOk('up', '--net-config-path', '/etc/kube-flannel/net-conf.json');
    await until('BIRD runs', async () => (await cluster.try(['pgrep', '-x', 'bird'])).code === 0);
    await until('its route is there', async () =>
      (await cluster.sh('ip route')).includes('blackhole 10.244.0.0/24 proto bird'),
    );
    t.regex((await cluster.berth('doctor')).stdout, /^BGP sessions +ok/m);
    await cluster.berthOk('down', '--purge');
    await isAsBefore(t, before);
    t.is((await cluster.try(['pgrep', '-x', 'bird'])).code, 1);
  },
);
