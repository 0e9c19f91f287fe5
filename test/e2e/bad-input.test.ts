/** What is wrong is said in a line or two: the cause and the way out. The exit code tells, too, and nothing on the host has changed. */
import test, { type ExecutionContext } from 'ava';
import { type ClusterHost, createClusterHost, whyNoHost } from '../support/cluster-host.ts';
import { whyNoDockerd } from '../support/dockerd.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';

const canRun = !whyNoHost() && !whyNoDockerd();
const story = canRun ? test.serial : test.skip;
const KUBELET = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
const PROXY = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
/** Files of the host that the commands are given. */
const FILES: Record<string, string> = {
  'unknown-field.yaml': `${KUBELET}maxPodz: 3\n`,
  'wrong-type.yaml': `${KUBELET}maxPods: many\n`,
  'not-yet.yaml': `${KUBELET}runOnce: true\n`,
  'static.yaml': `${KUBELET}cpuManagerPolicy: static\nreservedSystemCPUs: "0"\n`,
  'static-nothing-reserved.yaml': `${KUBELET}cpuManagerPolicy: static\n`,
  'no-such-cpu.yaml': `${KUBELET}cpuManagerPolicy: static\nreservedSystemCPUs: 0,4000\n`,
  'memory-unequal.yaml': `${KUBELET}memoryManagerPolicy: Static\nreservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}]\n`,
  'reserved.yaml': `${KUBELET}systemReserved: {memory: 900Ti}\nkubeReserved: {cpu: 500m}\n`,
  'not-reservable.yaml': `${KUBELET}systemReserved: {gpu: "1"}\n`,
  'no-such-cgroup.yaml': `${KUBELET}enforceNodeAllocatable: [kube-reserved]\nkubeReserved: {memory: 1Gi}\nkubeReservedCgroup: /kubernetes-daemons\n`,
  'other-kind.yaml': 'apiVersion: v1\nkind: Pod\n',
  'broken.yaml': 'a: [b\n',
  'proxy-unknown.yaml': `${PROXY}clusterCIDRR: 10.1.0.0/16\n`,
  'proxy-mode.yaml': `${PROXY}mode: warp\n`,
  'net-conf.json': '{"Network": "10.200.0.0/16", "Backend": {"Type": "vxlan", "VNI": 0}}',
  'net-conf-broken.json': '{"Network": ',
  'kubeconfig.txt': 'garbage\n',
  'no-context.yaml': 'apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\ncurrent-context: nowhere\n',
};

let cluster: ClusterHost;
let before: HostSnapshot;

test.serial.before(async () => {
  if (!canRun) return;
  cluster = await createClusterHost('clumsy');
  for (const [name, text] of Object.entries(FILES)) await cluster.try(['sh', '-c', `cat >/srv/${name}`], text);
  before = await cluster.snapshot();
});
test.after.always(() => cluster?.close());

interface Case {
  title: string;
  args: string[];
  says: RegExp;
  /** Makes the host so that the command must fail, and afterwards as it was. */
  prepare?: string;
  restore?: string;
}

const cases: Case[] = [
  {
    title: 'a busy port',
    args: ['up'],
    prepare: 'busybox httpd -p 6443 -h /srv',
    restore: 'kill $(pidof busybox)',
    says: /port 6443 \(--api-port\) .* in use; stop what listens .* or choose another with --api-port/,
  },
  {
    title: 'an overlay that nobody knows',
    args: ['up', '--overlay-backend', 'weave'],
    says: /--backend weave: Backend\.Type: "weave" is not one of host-gw, .*vxlan/,
  },
  {
    title: 'an overlay with another network than the cluster',
    args: ['up', '--net-config-path', '/srv/net-conf.json'],
    says: /net-conf\.json: its network is 10\.200\.0\.0\/16, the cluster's pods have --pod-cidr 10\.244\.0\.0\/16/,
  },
  {
    title: 'an overlay’s file that is broken',
    args: ['up', '--net-config-path', '/srv/net-conf-broken.json'],
    says: /net-conf-broken\.json: is no JSON/,
  },
  {
    title: 'an overlay with two backends',
    args: ['up', '--overlay-backend', 'host-gw', '--net-config-path', '/srv/net-conf.json'],
    says: /--backend host-gw: \/srv\/net-conf\.json says vxlan; leave the flag out, or change the file/,
  },
  {
    title: 'an option of a backend out of bounds',
    args: ['up', '--pod-cidr', '10.200.0.0/16', '--net-config-path', '/srv/net-conf.json'],
    says: /net-conf\.json: Backend\.VNI: 0 is not a whole number from 1 to 16777215/,
  },
  {
    title: 'a busy port of the agent',
    args: ['up'],
    prepare: 'busybox httpd -p 10250 -h /srv',
    restore: 'kill $(pidof busybox)',
    says: /port 10250 \(--agent-port\)/,
  },
  {
    title: "a field of the kubelet's that is of the wrong type",
    args: ['up', '--kubelet-config', '/srv/wrong-type.yaml'],
    says: /wrong-type\.yaml:3: field "maxPods" is "many"; accepted: an integer/,
  },
  {
    title: 'plugins without their configuration',
    args: ['up', '--image-credential-provider-bin-dir', '/usr/bin'],
    says: /--image-credential-provider-config and --image-credential-provider-bin-dir: give both of them, or neither/,
  },
  { title: 'one port for two', args: ['up', '--api-port', '10250'], says: /port 10250 .*--api-port and --agent-port/ },
  {
    title: 'a pod range that a route overlaps',
    args: ['up'],
    prepare: 'ip route add 10.244.8.0/24 dev eth0',
    restore: 'ip route del 10.244.8.0/24 dev eth0',
    says: /--pod-cidr 10\.244\.0\.0\/16 overlaps the host's route 10\.244\.8\.0\/24 dev eth0: choose another/,
  },
  {
    title: 'a service range that a route overlaps',
    args: ['up', '--service-cidr', '198.51.100.0/24'],
    says: /--service-cidr 198\.51\.100\.0\/24 overlaps the host's route 198\.51\.100\.0\/24 dev eth0/,
  },
  {
    title: 'no range at all',
    args: ['up', '--pod-cidr', 'banana'],
    says: /--pod-cidr: "banana" is no CIDR.*like 10\.244\.0\.0\/16/,
  },
  { title: 'a range with a length beyond 32', args: ['up', '--pod-cidr', '10.244.0.0/33'], says: /at most 32/ },
  {
    title: 'a range with host bits',
    args: ['up', '--pod-cidr', '10.244.0.1/16'],
    says: /did you mean 10\.244\.0\.0\/16\?/,
  },
  {
    title: 'ranges that overlap each other',
    args: ['up', '--pod-cidr', '10.96.0.0/16'],
    says: /overlap: choose two that don't/,
  },
  {
    title: 'an address of another host',
    args: ['up', '--node-ip', '192.0.2.1'],
    says: /--node-ip 192\.0\.2\.1: no interface .* it has 198\.51\.100\.10/,
  },
  {
    title: 'a Docker socket that nobody answers',
    args: ['up', '--docker-endpoint', 'unix:///nowhere.sock'],
    says: /no Docker Engine answers on unix:\/\/\/nowhere\.sock: start it/,
  },
  {
    title: 'a Docker endpoint by TCP',
    args: ['up', '--docker-endpoint', 'tcp://192.0.2.1:2375'],
    says: /only unix:\/\/ sockets/,
  },
  {
    title: 'a port that is no number',
    args: ['up', '--api-port', 'banana'],
    says: /--api-port banana: must be a port number/,
  },
  {
    title: 'a relative root directory',
    args: ['up', '--root-dir', 'here'],
    says: /--root-dir here: must be an absolute path/,
  },
  {
    title: 'a node name with capitals and underscores',
    args: ['up', '--node-name', 'My_Node'],
    says: /--node-name My_Node: .*lower-case letters/,
  },
  { title: 'an unknown flag', args: ['up', '--fast'], says: /unknown option '--fast'/ },
  { title: 'an unknown command', args: ['upp'], says: /unknown command 'upp'/ },
  {
    title: 'status where there is no cluster',
    args: ['status'],
    says: /there is no cluster in \/var\/lib\/berth: 'berth up' makes one/,
  },
  { title: 'down where there is no cluster', args: ['down'], says: /there is no cluster/ },
  { title: 'kubectl where there is no cluster', args: ['kubectl', 'get', 'nodes'], says: /there is no cluster/ },
  { title: 'an unknown rung of tests', args: ['test', 'nothing'], says: /no rung 'nothing'; the rungs are lint, unit/ },
  {
    title: 'agent: an unknown field',
    args: ['agent', '--config', '/srv/unknown-field.yaml'],
    says: /unknown-field\.yaml:3: unknown field "maxPodz".*did you mean "maxPods"\?/,
  },
  {
    title: 'agent: a field of another type',
    args: ['agent', '--config', '/srv/wrong-type.yaml'],
    says: /wrong-type\.yaml:3: field "maxPods" is "many"; accepted: an integer/,
  },
  {
    title: 'agent: a field that is not supported yet',
    args: ['agent', '--config', '/srv/not-yet.yaml'],
    says: /"runOnce" is true; it is not supported yet: leave it out, or at its default false/,
  },
  {
    title: 'agent: a file of another kind',
    args: ['agent', '--config', '/srv/other-kind.yaml'],
    says: /kind is "Pod"; accepted: .*KubeletConfiguration/,
  },
  {
    title: 'agent: a file that is no YAML',
    args: ['agent', '--config', '/srv/broken.yaml'],
    says: /broken\.yaml: not YAML: .* line 2/,
  },
  {
    title: 'agent: no such file',
    args: ['agent', '--config', '/srv/none.yaml'],
    says: /cannot read the configuration file \/srv\/none\.yaml/,
  },
  {
    title: 'agent: no such kubeconfig',
    args: ['agent', '--kubeconfig', '/srv/none'],
    says: /\/srv\/none: can't read the kubeconfig/,
  },
  {
    title: 'agent: a kubeconfig that is none',
    args: ['agent', '--kubeconfig', '/srv/kubeconfig.txt'],
    says: /kubeconfig\.txt: not a kubeconfig/,
  },
  {
    title: 'agent: a kubeconfig without its context',
    args: ['agent', '--kubeconfig', '/srv/no-context.yaml'],
    says: /no-context\.yaml: .*nowhere/,
  },
  { title: 'agent: nothing to run', args: ['agent'], says: /--kubeconfig FILE.*static pods/ },
  {
    title: 'agent: a checkpoint that is corrupt, which is kept aside',
    args: ['agent', '--config', '/srv/static.yaml', '--root-dir', '/srv/node'],
    prepare: 'mkdir /srv/node; echo "{}" >/srv/node/cpu_manager_state',
    restore:
      'grep -q "{}" /srv/node/cpu_manager_state.corrupt-* && test ! -e /srv/node/cpu_manager_state; rm -r /srv/node',
    says: /the checkpoint \/srv\/node\/cpu_manager_state is corrupt: its policyName is undefined\. It is kept as \/srv\/node\/cpu_manager_state\.corrupt-\d+T\d+Z/,
  },
  {
    title: "agent: another policy's checkpoint",
    args: ['agent', '--config', '/srv/static.yaml', '--root-dir', '/srv/node'],
    prepare:
      'mkdir /srv/node; echo \'{"policyName":"none","defaultCpuSet":"","checksum":1353318690}\' >/srv/node/cpu_manager_state',
    restore: 'rm -r /srv/node',
    says: /configured policy "static" differs from state checkpoint policy "none": please drain this node and delete .*\/srv\/node\/cpu_manager_state/,
  },
  {
    title: 'agent: CPUs of their own, and none left for the system',
    args: ['agent', '--config', '/srv/static-nothing-reserved.yaml'],
    says: /cpuManagerPolicy "static" needs CPUs that stay with the system: set reservedSystemCPUs/,
  },
  {
    title: 'a reserved CPU that the machine does not have',
    args: ['up', '--kubelet-config', '/srv/no-such-cpu.yaml'],
    says: /reservedSystemCPUs names CPUs that this machine does not have online: 4000/,
  },
  {
    title: 'more reserved than there is',
    args: ['up', '--kubelet-config', '/srv/reserved.yaml'],
    says: /this machine cannot be such a node:\s+- systemReserved\.memory 900Ti \+ evictionHard\.memory\.available 100Mi = .*; accepted: up to this node's memory of/,
  },
  {
    title: 'agent: more reserved than there is',
    args: ['agent', '--config', '/srv/reserved.yaml'],
    says: /systemReserved\.memory 900Ti .*accepted: up to this node's memory/,
  },
  {
    title: 'agent: what cannot be reserved',
    args: ['agent', '--config', '/srv/not-reservable.yaml'],
    says: /not-reservable\.yaml:3: field "systemReserved\.gpu" is "1"; accepted: the resources cpu, memory, ephemeral-storage, pid/,
  },
  {
    title: 'agent: a reserved cgroup that nobody has made',
    args: ['agent', '--config', '/srv/no-such-cgroup.yaml'],
    says: /kubeReservedCgroup is "\/kubernetes-daemons": there is no cgroup \/kubernetes-daemons .*make it/,
  },
  {
    title: 'reserved memory that does not add up',
    args: ['up', '--kubelet-config', '/srv/memory-unequal.yaml'],
    says: /total of reservedMemory for memory is 1073741824 bytes; accepted: 104857600 bytes, the sum of memory in kubeReserved/,
  },
  {
    title: 'proxy: an unknown field',
    args: ['proxy', '--config', '/srv/proxy-unknown.yaml'],
    says: /unknown field "clusterCIDRR".*did you mean "clusterCIDR"\?/,
  },
  {
    title: 'proxy: an unknown mode',
    args: ['proxy', '--config', '/srv/proxy-mode.yaml'],
    says: /field "mode" is "warp"; accepted: "auto", "iptables"/,
  },
  { title: 'proxy: no API server', args: ['proxy'], says: /needs an API server: give --kubeconfig FILE/ },
  {
    title: 'node: no such kubeconfig',
    args: ['node', '--kubeconfig', '/srv/none'],
    says: /\/srv\/none: can't read the kubeconfig/,
  },
  { title: 'overlay: no kubeconfig', args: ['overlay'], says: /needs an API server: give --kubeconfig FILE/ },
];

for (const { title, args, says, prepare, restore } of cases) {
  story(`${title}: berth ${args.join(' ')}`, async (t) => {
    if (prepare) await cluster.sh(prepare);
    const result = await cluster.berth(...args);
    if (restore) await cluster.sh(restore);
    t.not(result.code, 0);
    t.regex(result.stderr, says);
    await saidShortlyAndNothingWritten(t, result.stderr);
    if (args[0] === 'up' && args.length === 1) t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
  });
}

story('not root: berth up', async (t) => {
  // Where everybody may read it; and without a sudo that would help.
  await cluster.sh(`install -m 755 ${cluster.berthPath} /srv/berth; rm -f /usr/bin/sudo`);
  const { code, stderr } = await cluster.try(['setpriv', '--reuid', '65534', '--clear-groups', '/srv/berth', 'up']);
  t.not(code, 0);
  t.regex(stderr, /'berth up' needs root .*: run it as root, or install sudo/);
  await saidShortlyAndNothingWritten(t, stderr);
});

story('no Docker Engine and no dockerd to start: berth up', async (t) => {
  await cluster.sh('mv /usr/sbin/dockerd /usr/sbin/dockerd.away');
  // The launcher would ask apt first; this host has nobody to ask.
  const main = cluster.berthPath.replace(/berth$/, 'cli/main.ts');
  const { code, stderr } = await cluster.try([process.execPath, main, 'up']);
  await cluster.sh('mv /usr/sbin/dockerd.away /usr/sbin/dockerd');
  t.is(code, 1);
  t.regex(stderr, /no Docker Engine answers .* no dockerd to start: run 'apt-get install docker\.io'/);
  await saidShortlyAndNothingWritten(t, stderr);
});

const bridgeModule = canRun && (await hasBridgeModule());
(bridgeModule ? test.skip : story)('a kernel without br_netfilter: berth up', async (t) => {
  await cluster.sh('mount -t tmpfs none /proc/sys/net/bridge');
  const { code, stderr } = await cluster.berth('up');
  await cluster.sh('umount /proc/sys/net/bridge');
  t.is(code, 1);
  t.regex(stderr, /no br_netfilter, .*: boot a kernel that has it/);
  await saidShortlyAndNothingWritten(t, stderr);
});

story('after all of these the host is as it was', async (t) => {
  t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
});

/** Where modprobe finds the module it cannot be hidden honestly: the kernel then has it. */
async function hasBridgeModule(): Promise<boolean> {
  const { spawnSync } = await import('node:child_process');
  return spawnSync('/sbin/modprobe', ['--dry-run', 'br_netfilter']).status === 0;
}

async function saidShortlyAndNothingWritten(t: ExecutionContext, stderr: string): Promise<void> {
  const lines = stderr
    .trim()
    .split('\n')
    .filter((line) => line !== '(berth --help lists the commands)');
  t.true(lines.length <= 2, stderr);
  t.notRegex(stderr, /^ +at /m);
  const places = '/var/lib/berth /var/lib/berth-node /var/lib/berth-proxy /run/berth /var/log/berth /var/log/pods';
  t.is(await cluster.sh(`find ${places} -mindepth 1 2>/dev/null || true`), '');
}
