/** Security contexts, references and what a node cannot do, asked for by kubectl; the stories run side by side on one host. */
import test, { type ExecutionContext } from 'ava';
import type { Event, Node, Pod } from '../../src/kube/types.ts';
import {
  type ClusterHost,
  createClusterHost,
  kubectlOrWhyNot,
  until as soon,
  whyNoHost,
} from '../support/cluster-host.ts';
import { deployment, pod, script, service } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const canRun = !whyNoHost() && !('skip' in kubectl);

/** All stories start at once: the machine is busy. */
const until = <T>(what: string, ask: () => Promise<T | undefined | false>) => soon(what, ask, 60_000);

let cluster: ClusterHost;

test.before(async () => {
  if (!canRun) return;
  cluster = await createClusterHost('pod-specs');
  await cluster.berthOk('up');
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

function story(title: string, tell: (t: ExecutionContext) => Promise<unknown>): void {
  if (canRun) test(title, async (t) => void (await tell(t)));
  else test.skip(title, (t) => t.pass());
}

const POLITE = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const polite = (first = ':') => script(`${first}; ${POLITE}`);
const get = (name: string) => cluster.get<Pod>('pod', name);
const logs = async (name: string) => (await cluster.kubectl('logs', name)).trim();
const phase = (name: string, wanted: string) =>
  until(`${name} is ${wanted}`, async () => {
    const found = await get(name);
    return found.status?.phase === wanted && found;
  });
const waiting = (name: string, reason: string) =>
  until(`${name} waits: ${reason}`, async () => {
    const state = (await get(name)).status?.containerStatuses?.[0]?.state?.waiting;
    return state?.reason === reason && (state.message ?? '');
  });
const eventOf = (name: string, reason: string) =>
  until(`event ${reason} of ${name}`, async () => {
    const fields = `involvedObject.name=${name},reason=${reason}`;
    const [event] = await cluster.list<Event>('events', '--field-selector', fields);
    return event;
  });

story('what the restricted Pod Security Standard demands, in a Deployment', async (t) => {
  const securityContext = {
    allowPrivilegeEscalation: false,
    runAsNonRoot: true,
    runAsUser: 10_001,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
    readOnlyRootFilesystem: true,
  };
  await cluster.apply(
    deployment('restricted', 2, {
      ...polite('exec 2>&1; id -u; grep -E "CapEff|NoNewPrivs|Seccomp:" /proc/self/status; touch /x'),
      securityContext,
    }),
  );
  await cluster.kubectl('rollout', 'status', 'deployment/restricted', '--timeout=60s');
  const text = await until('its log', async () => {
    const lines = await cluster.kubectl('logs', 'deployment/restricted');
    return lines.includes('touch') && lines;
  });
  t.regex(text, /^10001\nCapEff:\s0{16}\nNoNewPrivs:\s1\nSeccomp:\s2\ntouch: \/x: Read-only file system/);
});

story('runAsNonRoot with an image of root waits and says why', async (t) => {
  await cluster.apply(pod('root', polite(), { securityContext: { runAsNonRoot: true } }));
  t.regex(
    await waiting('root', 'CreateContainerConfigError'),
    /^container has runAsNonRoot and image will run as root \(pod: "root_default\([-0-9a-f]+\)", container: main\)$/,
  );
  t.regex((await eventOf('root', 'Failed')).message!, /^Error: container has runAsNonRoot and image will run as root/);
  t.is((await get('root')).status!.phase, 'Pending');
});

story(
  'a ConfigMap, a key, a Secret that are not there: named one by one, and the pod runs when they come',
  async (t) => {
    await cluster.apply(
      pod('late-config', {
        ...polite('echo "$COLOR $PASSWORD $P_EXTRA $OPTIONAL."'),
        env: [
          { name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'late', key: 'color' } } },
          { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'late', key: 'password' } } },
          { name: 'OPTIONAL', valueFrom: { secretKeyRef: { name: 'none', key: 'x', optional: true } } },
        ],
        envFrom: [{ prefix: 'P_', configMapRef: { name: 'late' } }, { secretRef: { name: 'none', optional: true } }],
      }),
    );
    const says = (words: string) =>
      until(words, async () => (await waiting('late-config', 'CreateContainerConfigError')) === words);
    await says('configmap "late" not found');
    await cluster.kubectl('create', 'configmap', 'late', '--from-literal=EXTRA=more');
    await says("couldn't find key color in ConfigMap default/late");
    await cluster.kubectl('patch', 'configmap', 'late', '--patch', '{"data":{"color":"red"}}');
    await says('secret "late" not found');
    await cluster.kubectl('create', 'secret', 'generic', 'late', '--from-literal=password=s3cret');
    await phase('late-config', 'Running');
    t.is(await logs('late-config'), 'red s3cret more .');
  },
);

story('services are variables, unless the pod has no use for them', async (t) => {
  await cluster.apply(service('first-db', { app: 'none' }, { ports: [{ name: 'sql', port: 5432 }] }));
  const { spec } = await cluster.get<{ spec: { clusterIP: string }; metadata: { name: string } } & Pod>(
    'service',
    'first-db',
  );
  const address = (spec as unknown as { clusterIP: string }).clusterIP;
  const print = polite(
    'env | grep -c FIRST_DB; echo "$FIRST_DB_SERVICE_HOST $FIRST_DB_PORT_5432_TCP $KUBERNETES_SERVICE_PORT_HTTPS"',
  );
  // The node learns of the service a moment after the API server.
  await until('the node knows the service', async () => {
    await cluster.kubectl('delete', 'pod', 'links', '--ignore-not-found', '--wait');
    await cluster.apply(pod('links', print));
    await phase('links', 'Running');
    return (await logs('links')) === `8\n${address} tcp://${address}:5432 443`;
  });
  await cluster.apply(pod('no-links', print, { enableServiceLinks: false }));
  await phase('no-links', 'Running');
  t.is(await logs('no-links'), '0\n  443');
});

story('what this node cannot do is refused by name; what has no effect is told', async (t) => {
  await cluster.apply(
    pod('userns', polite(), { hostUsers: false }),
    pod('class', polite(), { runtimeClassName: 'gvisor' }),
    pod('git', polite(), { volumes: [{ name: 'v', gitRepo: { repository: 'https://git.invalid/x' } }] }),
    pod('unsafe', polite(), { securityContext: { sysctls: [{ name: 'kernel.shmmax', value: '1' }] } }),
    pod('windows', polite(), { securityContext: { windowsOptions: { runAsUserName: 'someone' } } }),
  );
  for (const [name, reason, message] of [
    ['userns', 'PodFeatureUnsupported', /^Pod was rejected: .*spec\.hostUsers false: Docker has no user namespaces/],
    ['class', 'PodFeatureUnsupported', /spec\.runtimeClassName "gvisor"/],
    ['git', 'PodFeatureUnsupported', /spec\.volumes\[0\]\.gitRepo: .*CVE-2024-10220/],
    ['unsafe', 'SysctlForbidden', /^Pod was rejected: forbidden sysctl: "kernel\.shmmax" not allowlisted$/],
  ] as const) {
    const { status } = await phase(name, 'Failed');
    t.is(status!.reason, reason);
    t.regex(status!.message!, message);
    t.is((await eventOf(name, reason)).type, 'Warning');
  }
  await phase('windows', 'Running');
  t.regex(
    (await eventOf('windows', 'FieldsWithoutEffect')).message!,
    /spec\.securityContext\.windowsOptions: Windows only/,
  );
});

story('AppArmor: refused where the kernel has none', async (t) => {
  const { securityOptions } = await cluster.engine().info();
  if (securityOptions.some((option) => option.includes('apparmor'))) return t.log('skipped: this kernel has AppArmor');
  await cluster.apply(pod('armor', polite(), { securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } }));
  const { status } = await phase('armor', 'Failed');
  t.is(status!.reason, 'AppArmor');
  t.is(status!.message, 'Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host');
});

story('CVE-2023-2431: a Localhost profile that is not there, then is', async (t) => {
  const seccompProfile = { type: 'Localhost', localhostProfile: 'late/profile.json' };
  await cluster.apply(
    pod('profile', polite('grep Seccomp: /proc/self/status'), { securityContext: { seccompProfile } }),
  );
  t.regex(await waiting('profile', 'CreateContainerError'), /late\/profile\.json": no such file or directory$/);
  await cluster.sh(
    `mkdir -p /var/lib/berth/kubelet/seccomp/late; echo '{"defaultAction":"SCMP_ACT_ALLOW"}' >/var/lib/berth/kubelet/seccomp/late/profile.json`,
  );
  await phase('profile', 'Running');
  t.is(await logs('profile'), 'Seccomp:\t2');
});

story('safe sysctls, groups, host names: in force; the node says what it can do', async (t) => {
  await cluster.apply(
    pod('kernel', polite('cat /proc/sys/net/ipv4/ip_unprivileged_port_start; id -G; hostname'), {
      hostname: 'h',
      subdomain: 's',
      setHostnameAsFQDN: true,
      securityContext: {
        runAsUser: 1000,
        runAsGroup: 3000,
        supplementalGroups: [4000],
        supplementalGroupsPolicy: 'Strict',
        sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '80' }],
      },
    }),
  );
  await phase('kernel', 'Running');
  t.is(await logs('kernel'), '80\n3000 4000\nh.s.default.svc.cluster.local');
  const [node] = await cluster.list<Node>('nodes');
  t.deepEqual(node!.status!.features, { supplementalGroupsPolicy: true });
});
