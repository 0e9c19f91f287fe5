/**
 * Identities of pods: kubectl inside a pod, with what every pod is given (token, CA, namespace, the name of the API
 * server), reaches the API by name, is told who it is, and is refused what it may not do.
 */
import test from 'ava';
import { imagesFolder } from '../../cli/cluster/images-folder.ts';
import type { ImageRecipe } from '../../cli/images/catalog.ts';
import { ensureImage } from '../../cli/images/load.ts';
import type { ConfigMap, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;

const MOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const SOCKET = '/run/berth/docker.sock';
const IMAGE = 'berth-test/kubectl:1';

/** A shell and kubectl, which takes its way to the cluster from where it runs. */
const recipe = (program: string): ImageRecipe => ({
  name: IMAGE,
  packages: [],
  programs: { '/bin/busybox': 'host:busybox', '/usr/bin/kubectl': `host:${program}` },
  files: {},
  texts: { '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' },
  folders: ['/tmp', '/etc', '/root'],
  links: Object.fromEntries(['sh', 'cat', 'ls', 'sleep', 'stat', 'id'].map((applet) => [`/bin/${applet}`, 'busybox'])),
  entrypoint: [],
  command: [],
});

const resident = (name: string, spec: object = {}) =>
  pod(name, { image: IMAGE, ...script('trap exit TERM; while :; do sleep 1; done') }, spec);

let cluster: ClusterHost;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('identity');
  await cluster.berthOk('up');
  const { program } = kubectl as { program: string };
  await ensureImage(cluster.engine(), `unix://${cluster.host.path(SOCKET)}`, recipe(program), imagesFolder());
  await cluster.apply(resident('insider'));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
});
test.after.always(() => cluster?.close());

/** kubectl in the pod, without any configuration. */
const inside = (command: string, name = 'insider') => cluster.inPod(name, `kubectl ${command} 2>&1`);

story('every pod finds its token, the CA and its namespace', async (t) => {
  const { output } = await cluster.inPod('insider', `cd ${MOUNT}; stat -c %a ..data/*; cat namespace; cat ca.crt`);
  t.regex(output, /^644\n644\n644\ndefault-----BEGIN CERTIFICATE-----/);
  const map = await cluster.get<ConfigMap>('configmap', 'kube-root-ca.crt');
  t.true(output.endsWith(map.data?.['ca.crt'] ?? '?'));
  const { spec } = await cluster.get<Pod>('pod', 'insider');
  t.regex(spec.volumes?.[0]?.name ?? '', /^kube-api-access-[a-z0-9]{5}$/);
});

story('kubectl in a pod reaches the API and is told who it is', async (t) => {
  t.regex((await inside('version')).output, /Server Version: v1\.36\./);
  const { output } = await inside('auth whoami');
  t.regex(output, /Username +system:serviceaccount:default:default\n/);
  t.regex(output, /Groups +\[system:serviceaccounts system:serviceaccounts:default system:authenticated\]\n/);
  t.regex(output, /authentication\.kubernetes\.io\/pod-name +\[insider\]\n/);
});

story("the node's own port knows its token, and asks the API server what it may", async (t) => {
  const ask = async (path: string, credentials: string) =>
    cluster.sh(`curl -sSk ${credentials} -w ' %{http_code}' https://${cluster.address}:10250${path}`);
  const token = `-H 'Authorization: Bearer ${(await cluster.kubectl('create', 'token', 'default')).trim()}'`;
  t.is(await ask('/pods', ''), 'Unauthorized 401');
  t.is(await ask('/pods', "-H 'Authorization: Bearer made-up'"), 'Unauthorized 401');
  t.is(
    await ask('/metrics', token),
    'Forbidden (user=system:serviceaccount:default:default, verb=get, resource=nodes, subresource=[metrics]) 403',
  );
});

story('it reaches the API by name, with a token read from its own mount', async (t) => {
  const byName = `--server=https://kubernetes.default.svc --certificate-authority=${MOUNT}/ca.crt --token="$(cat ${MOUNT}/token)"`;
  const answer = await inside(`${byName} auth whoami -o jsonpath={.status.userInfo.username}`);
  t.deepEqual(answer, { code: 0, output: 'system:serviceaccount:default:default' });
  t.regex((await inside(`${byName} get --raw /openid/v1/jwks`)).output, /^\{"keys":\[\{"use":"sig","alg":"ES256"/);
});

story('it is refused what it may not do', async (t) => {
  t.deepEqual(await inside('get secrets'), {
    code: 1,
    output:
      'Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:default:default" cannot list resource "secrets" in API group "" in the namespace "default"\n',
  });
  t.deepEqual(await inside('auth can-i get secrets'), { code: 1, output: 'no\n' });
  t.regex((await inside('get --raw /metrics')).output, /cannot get path "\/metrics"/);
  t.regex((await inside('create token default')).output, /cannot create resource "serviceaccounts\/token"/);
  t.regex((await inside('delete pod insider')).output, /cannot delete resource "pods"/);
  const forged = await inside('--token=eyJhbGciOiJub25lIn0.e30.x get pods');
  t.regex(forged.output, /You must be logged in to the server/);
});

story('what a pod or its account does not want, it does not get', async (t) => {
  await cluster.apply(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'shy' }, automountServiceAccountToken: false },
    resident('unarmed', { automountServiceAccountToken: false }),
    resident('shy', { serviceAccountName: 'shy' }),
    resident('unprivileged', { securityContext: { runAsUser: 65534 } }),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
  for (const name of ['unarmed', 'shy'])
    t.not((await cluster.inPod(name, `ls ${MOUNT}`)).code, 0, `${name} has no token`);
  const { output } = await cluster.inPod('unprivileged', `id -u; stat -c '%a %u' ${MOUNT}/..data/token`);
  t.is(output, '65534\n600 65534\n');
  t.regex((await inside('auth whoami', 'unprivileged')).output, /system:serviceaccount:default:default/);
});

story('kubectl create token: works, lives as long as its account', async (t) => {
  await cluster.kubectl('create', 'serviceaccount', 'robot');
  const token = (await cluster.kubectl('create', 'token', 'robot', '--duration=10m')).trim();
  const whoami = ['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}', `--token=${token}`];
  // The administrator's certificate would win over a token.
  const asRobot = (args: string[]) =>
    cluster.tryKubectl([
      ...args,
      '--kubeconfig=/dev/null',
      '--server=https://127.0.0.1:6443',
      '--insecure-skip-tls-verify',
    ]);
  t.is((await asRobot(whoami)).stdout, 'system:serviceaccount:default:robot');
  await cluster.kubectl('delete', 'serviceaccount', 'robot');
  t.regex((await asRobot(whoami)).stderr, /Unauthorized|must be logged in/);
});

story('kube-root-ca.crt comes with a namespace, and back', async (t) => {
  await cluster.kubectl('create', 'namespace', 'fresh');
  const present = () => cluster.get('configmap', 'kube-root-ca.crt', '-n', 'fresh');
  await until('the ConfigMap is there', present);
  await cluster.kubectl('delete', 'configmap', 'kube-root-ca.crt', '-n', 'fresh');
  await until('it is there again', present);
  await cluster.apply({ ...resident('at-once'), metadata: { name: 'at-once', namespace: 'fresh' } });
  await cluster.kubectl('wait', '-n', 'fresh', '--for=condition=Ready', 'pod/at-once', '--timeout=60s');
  t.pass();
});

story(
  'after a kill of the daemon the running pod gets a new token in its file, and the old one still works',
  async (t) => {
    const read = async () => (await cluster.inPod('insider', `cat ${MOUNT}/token`)).output;
    const before = await read();
    await cluster.sh('kill -KILL "$(cat /run/berth/berth.pid)"');
    await cluster.berthOk('up');
    await until('another token is in the file', async () => (await read()) !== before);
    const { status } = await cluster.get<Pod>('pod', 'insider');
    t.is(status?.containerStatuses?.[0]?.restartCount, 0);
    for (const token of [before, await read()]) t.is((await inside(`--token=${token} auth whoami -o name`)).code, 0);
  },
);
