import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import type { Container, Pod } from '../../../src/kube/types.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

/** Names, resolvers, variables and limits, as processes in real containers find them. */
const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let node: TestAgent;
let files: string;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    files = await mkdtemp(join(tmpdir(), 'berth-node-files-'));
    const [resolvConfPath, hostsPath] = [join(files, 'resolv.conf'), join(files, 'hosts')];
    await writeFile(resolvConfPath, 'search corp.example.\nnameserver 192.0.2.53\noptions timeout:1\n');
    await writeFile(hostsPath, '192.0.2.7\tneighbour\n');
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    node = await createTestAgent({
      docker: engine.docker,
      network: createFakePodNetwork(),
      options: { clusterDns: ['10.96.0.10'], clusterDomain: 'cluster.test', resolvConfPath, hostsPath },
    });
    node.start();
  });
  test.after.always(async () => {
    try {
      await node?.remove();
    } finally {
      await engine?.stop();
      await rm(files, { recursive: true, force: true });
    }
  });
}

const POLITE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];

async function apply(name: string, spec: Partial<Pod['spec']> = {}, container: Partial<Container> = {}, metadata = {}) {
  const app = { name: 'app', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command: POLITE, ...container };
  await node.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...metadata },
    spec: { terminationGracePeriodSeconds: 1, ...spec, containers: [app] },
  } as Parameters<TestAgent['apply']>[0]);
}

const running = (name: string) =>
  eventually(`${name} runs`, () => node.pod(name)?.status?.containerStatuses?.[0]?.state?.running);
const eventsOf = (name: string) => node.events.filter(({ pod }) => pod === `${name}-node-1`);

/** What a script prints in the container, without the last line's end. */
async function inside(pod: string, script: string): Promise<string> {
  const { id } = node.runtime(pod)!.containers.find(({ state }) => state === 'running')!;
  const { output } = await engine.docker.execInContainer(id, ['sh', '-c', script]);
  return output.toString().trimEnd();
}

async function removed(...names: string[]): Promise<void> {
  for (const name of names) await node.unapply(name);
  for (const name of names) await eventually(`${name} is gone`, () => !node.pod(name));
}

real('host names: of the pod, of its subdomain, overridden, of the node', async (t) => {
  await apply('plain');
  await apply('sub', { hostname: 'h', subdomain: 's' });
  await apply('fqdn', { hostname: 'h', subdomain: 's', setHostnameAsFQDN: true });
  await apply('override', { hostnameOverride: 'anything.at.all', hostname: 'h', subdomain: 's' });
  const names = ['plain', 'sub', 'fqdn', 'override'];
  await Promise.all(names.map(running));
  const shown = async (name: string) =>
    inside(name, 'hostname; cat /etc/hostname; echo $HOSTNAME; grep -v "^#\\|^127\\|:" /etc/hosts | cut -f2-');
  t.is(await shown('plain'), 'plain-node-1\nplain-node-1\nplain-node-1\nplain-node-1');
  t.is(await shown('sub'), 'h\nh\nh\nh.s.default.svc.cluster.test\th');
  const fqdn = 'h.s.default.svc.cluster.test';
  t.is(await shown('fqdn'), `${fqdn}\n${fqdn}\n${fqdn}\n${fqdn}\th`);
  t.is(await shown('override'), Array(4).fill('anything.at.all').join('\n'));
  await removed(...names);
});

real('a host name that does not fit: FailedCreatePodSandBox, and it runs when it is mended', async (t) => {
  const long = { subdomain: 's'.repeat(40), setHostnameAsFQDN: true };
  await apply('long', long);
  await eventually('refused', () => eventsOf('long').some(({ reason }) => reason === 'FailedCreatePodSandBox'));
  const { message } = eventsOf('long').find(({ reason }) => reason === 'FailedCreatePodSandBox')!;
  t.regex(message, /^Failed to create pod sandbox: failed to construct FQDN .*64 characters is the max/);
  t.is(node.pod('long')!.status!.phase, 'Pending');
  t.deepEqual(await engine.docker.listContainers({ labels: ['io.kubernetes.pod.name=long-node-1'] }), []);
  await apply('long', { ...long, subdomain: 's' });
  await running('long');
  t.is(await inside('long', 'hostname'), 'long-node-1.s.default.svc.cluster.test');
  await removed('long');
});

real('hosts files: aliases; the node’s own for pods on its network', async (t) => {
  const hostAliases = [{ ip: '203.0.113.9', hostnames: ['one.example', 'two.example'] }];
  await apply('aliases', { hostAliases });
  await apply('hosted', { hostAliases, hostNetwork: true });
  await apply(
    'own',
    {
      volumes: [{ name: 'mine', hostPath: { path: join(files, 'hosts'), type: 'File' } }],
    },
    { volumeMounts: [{ name: 'mine', mountPath: '/etc/hosts' }] },
  );
  await Promise.all(['aliases', 'hosted', 'own'].map(running));
  const ip = node.pod('aliases')!.status!.podIP!;
  t.is(
    await inside('aliases', 'cat /etc/hosts'),
    `# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
${ip}\taliases-node-1

# Entries added by HostAliases.
203.0.113.9\tone.example\ttwo.example`,
  );
  t.is(
    await inside('hosted', 'cat /etc/hosts'),
    `# Kubernetes-managed hosts file (host network).
192.0.2.7\tneighbour

# Entries added by HostAliases.
203.0.113.9\tone.example\ttwo.example`,
  );
  t.is(await inside('own', 'cat /etc/hosts'), '192.0.2.7\tneighbour');
  await removed('aliases', 'hosted', 'own');
});

real('resolvers by policy; what is too much is cut and told', async (t) => {
  const cluster = 'search default.svc.cluster.test svc.cluster.test cluster.test corp.example\nnameserver 10.96.0.10\n';
  const host = 'search corp.example\nnameserver 192.0.2.53\noptions timeout:1';
  const specs: [string, Partial<Pod['spec']>, string][] = [
    ['first', {}, `${cluster}options ndots:5`],
    ['default', { dnsPolicy: 'Default' }, host],
    ['hosted', { hostNetwork: true }, host],
    ['withhost', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }, `${cluster}options ndots:5`],
    [
      'much',
      {
        dnsPolicy: 'None',
        dnsConfig: {
          nameservers: ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'],
          searches: Array.from({ length: 34 }, (_, i) => `s${i}`),
          options: [{ name: 'ndots', value: '1' }, { name: 'rotate' }],
        },
      },
      `search ${Array.from({ length: 32 }, (_, i) => `s${i}`).join(' ')}\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\noptions ndots:1 rotate`,
    ],
  ];
  for (const [name, spec] of specs) await apply(name, spec);
  for (const [name, , expected] of specs) {
    await running(name);
    t.is(await inside(name, 'cat /etc/resolv.conf'), expected, name);
  }
  const messages = eventsOf('much').flatMap(({ reason, message }) => (reason === 'DNSConfigForming' ? [message] : []));
  t.is(messages.length, 2);
  t.regex(
    messages[0]!,
    /^Nameserver limits were exceeded, .* applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3$/,
  );
  t.regex(messages[1]!, /^Search Line limits were exceeded, .* applied search line is: s0 s1 .* s31$/);
  t.false(eventsOf('first').some(({ type }) => type === 'Warning'));
  await removed(...specs.map(([name]) => name));
});

real('variables: fields, resources, expansion, in environment, command and arguments', async (t) => {
  const field = (fieldPath: string) => ({ valueFrom: { fieldRef: { fieldPath } } });
  const resource = (name: string, divisor: string) => ({
    valueFrom: { resourceFieldRef: { resource: name, divisor } },
  });
  await apply(
    'variables',
    {},
    {
      command: ['sh', '-c'],
      args: [`echo '$(NAME) $$(NAME) $(NONE)' > /tmp/args; trap "exit 0" TERM; while :; do sleep 0.05; done`],
      resources: { limits: { cpu: '1500m', memory: '64Mi' } },
      env: [
        { name: 'NAME', ...field('metadata.name') },
        { name: 'UID', ...field('metadata.uid') },
        { name: 'LABEL', ...field("metadata.labels['tier']") },
        { name: 'NODE', ...field('spec.nodeName') },
        { name: 'POD_IP', ...field('status.podIP') },
        { name: 'HOST_IP', ...field('status.hostIP') },
        { name: 'CPU', ...resource('limits.cpu', '1') },
        { name: 'CPU_M', ...resource('requests.cpu', '1m') },
        { name: 'MEMORY', ...resource('limits.memory', '1Mi') },
        { name: 'BOTH', value: '$(NAME)@$(POD_IP) $$(NAME) $(LATER)' },
        { name: 'LATER', value: 'x' },
        { name: 'dotted.name-with_all', value: 'kept' },
        { name: 'LINES', value: 'a\nb "c" $d' },
      ],
    },
    { labels: { tier: 'web' } },
  );
  await running('variables');
  const { metadata, status } = node.pod('variables')!;
  const own = Object.fromEntries(
    (await inside('variables', 'tr "\\0" "\\n" < /proc/1/environ'))
      .split('\n')
      .map((line) => line.split(/=(.*)/s) as [string, string]),
  );
  t.like(own, {
    NAME: 'variables-node-1',
    UID: metadata.uid,
    LABEL: 'web',
    NODE: 'node-1',
    POD_IP: status!.podIP,
    HOST_IP: '192.0.2.1',
    CPU: '2',
    CPU_M: '1500',
    MEMORY: '64',
    BOTH: `variables-node-1@${status!.podIP} $(NAME) $(LATER)`,
    'dotted.name-with_all': 'kept',
    LINES: 'a',
    HOSTNAME: 'variables-node-1',
  });
  t.is(await inside('variables', 'cat /tmp/args; echo "$LINES"'), 'variables-node-1 $(NAME) $(NONE)\na\nb "c" $d');
  await removed('variables');
});

/** A file of the cgroup that holds the container's: the pod's. */
async function podCgroupFile(pod: string, v1: [controller: string, file: string], v2: string): Promise<string> {
  const { id } = node.runtime(pod)!.containers.find(({ state }) => state === 'running')!;
  const { pid } = await engine.docker.inspectContainer(id);
  const lines = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).split('\n').map((line) => line.split(':'));
  const ofV1 = lines.find(([, controllers]) => controllers?.split(',').includes(v1[0]));
  const path = dirname((ofV1 ?? lines.find(([number]) => number === '0'))![2]!);
  const file = ofV1 ? join('/sys/fs/cgroup', v1[0], path, v1[1]) : join('/sys/fs/cgroup', path, v2);
  return (await readFile(file, 'utf8')).trim();
}

real('resources of the pod as a whole are limits of its cgroup, and what its containers read as theirs', async (t) => {
  const env = [
    { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } } },
    { name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
  ];
  await apply('whole', { resources: { limits: { cpu: '250m', memory: '64Mi' } } }, { env });
  await running('whole');
  t.is(node.pod('whole')!.status!.qosClass, 'Guaranteed');
  t.is(await podCgroupFile('whole', ['memory', 'memory.limit_in_bytes'], 'memory.max'), String(64 << 20));
  t.regex(await podCgroupFile('whole', ['cpu', 'cpu.cfs_quota_us'], 'cpu.max'), /^25000\b/);
  t.is(await inside('whole', 'echo $CPU $MEMORY'), '250 64');
  await removed('whole');
});
