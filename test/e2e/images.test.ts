/** Private images by kubectl, from Debian's docker-registry inside the host. Every story has repositories of its own. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import type { Event, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { pod } from '../support/manifests.ts';
import { pushTestImage, registryOrWhyNot, writeRegistryFiles } from '../support/registry.ts';

const ENGINE = '/run/berth/docker.sock';
const PLUGINS = '/etc/berth/plugins';
const PASSWORD = 'right';
const MAIN = '127.0.0.1:5000';
/** This one goes down. */
const SHAKY = '127.0.0.1:5001';

const kubectl = await kubectlOrWhyNot();
const found = await registryOrWhyNot();
const obstacle =
  whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined) ?? ('skip' in found ? found.skip : undefined);

let cluster: ClusterHost;

function startRegistry(address: string, name: string): void {
  const inside = `/srv/${name}`;
  const argv = writeRegistryFiles('program' in found ? found.program : '', {
    folder: cluster.host.path(inside),
    folderInside: inside,
    address,
    users: { reader: PASSWORD },
  });
  // Its pid as the host sees it: what is spawned here is only the way in.
  cluster.host.spawn(['sh', '-c', `echo $$ >/run/${name}.pid; exec "$0" "$@"`, ...argv], { stdio: 'ignore' });
}

async function stopRegistry(name: string): Promise<void> {
  await cluster.sh(
    `pid=$(cat /run/${name}.pid); kill -9 "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done`,
  );
}

/** @returns its digest */
function push(image: string): Promise<string> {
  const options = { label: image.replace(/\W/g, '-'), auth: { username: 'reader', password: PASSWORD } };
  return until(`${image} is pushed`, () => pushTestImage(cluster.host.path(ENGINE), image, options));
}

/** Two plugins that know the password: for repositories below `plugin/`, and below `token/` for service accounts of a team. */
function writePlugins(): void {
  const folder = cluster.host.path(PLUGINS);
  mkdirSync(`${folder}/bin`, { recursive: true });
  const tokenAttributes = {
    serviceAccountTokenAudience: 'registry.test',
    cacheType: 'ServiceAccount',
    requireServiceAccount: true,
    requiredServiceAccountAnnotationKeys: ['example.com/team'],
  };
  const providers = [
    writePlugin(`${folder}/bin`, 'login', 'plugin', {}),
    writePlugin(`${folder}/bin`, 'token-login', 'token', { tokenAttributes }),
  ];
  const config = { apiVersion: 'kubelet.config.k8s.io/v1', kind: 'CredentialProviderConfig', providers };
  writeFileSync(`${folder}/config.yaml`, JSON.stringify(config));
}

/** Each writes down what it is asked. @returns its entry in the configuration */
function writePlugin(folder: string, name: string, repository: string, more: object): object {
  const response = {
    kind: 'CredentialProviderResponse',
    apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
    cacheKeyType: 'Image',
    auth: { [`${MAIN}/${repository}`]: { username: 'reader', password: PASSWORD } },
  };
  const script = `#!/bin/sh\ncat >>/var/log/${name}\necho '${JSON.stringify(response)}'\n`;
  writeFileSync(`${folder}/${name}`, script);
  chmodSync(`${folder}/${name}`, 0o755);
  const { apiVersion } = response;
  return { name, matchImages: [`${MAIN}/${repository}`], defaultCacheDuration: '0s', apiVersion, ...more };
}

test.before(async () => {
  if (obstacle) return;
  cluster = await createClusterHost('images');
  writePlugins();
  await cluster.berthOk(
    ...['up', '--image-credential-provider-config', `${PLUGINS}/config.yaml`],
    ...['--image-credential-provider-bin-dir', `${PLUGINS}/bin`],
  );
  startRegistry(MAIN, 'registry');
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

function story(title: string, tell: (t: ExecutionContext) => Promise<unknown>): void {
  if (obstacle) test.skip(`${title} (${obstacle})`, (t) => t.pass());
  else test(title, async (t) => void (await tell(t)));
}

async function secretIn(namespace: string, name: string, password: string, server = MAIN): Promise<void> {
  const flags = [`--docker-server=${server}`, '--docker-username=reader', `--docker-password=${password}`];
  const args = ['create', 'secret', 'docker-registry', name, '-n', namespace, '--dry-run=client', '-o', 'json'];
  await cluster.apply(JSON.parse(await cluster.kubectl(...args, ...flags)));
}

/** A namespace with its default service account, without which no pod is admitted. */
async function namespaceOf(name: string): Promise<void> {
  await cluster.kubectl('create', 'namespace', name);
  await until('its service account', async () => {
    const { code } = await cluster.tryKubectl(['get', 'serviceaccount', 'default', '-n', name]);
    return code === 0;
  });
}

const podOf = (namespace: string, name: string, image: string, secret?: string, container: object = {}) =>
  pod(
    name,
    { image, command: ['sleep', '3600'], ...container },
    secret === undefined ? {} : { imagePullSecrets: [{ name: secret }] },
    { namespace },
  );

const get = (namespace: string, name: string) => cluster.get<Pod>('pod', name, '-n', namespace);

function running(namespace: string, name: string): Promise<Pod> {
  return until(
    `pod ${namespace}/${name} is ready`,
    async () => {
      const found = await get(namespace, name);
      return found.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') && found;
    },
    60_000,
  );
}

function waiting(namespace: string, name: string, reason: string): Promise<string> {
  return until(
    `${namespace}/${name} waits: ${reason}`,
    async () => {
      const state = (await get(namespace, name)).status?.containerStatuses?.[0]?.state?.waiting;
      return state?.reason === reason && (state.message ?? '');
    },
    60_000,
  );
}

async function eventsOf(namespace: string, name: string): Promise<string[]> {
  const events = await cluster.list<Event>('events', '-n', namespace, `--field-selector=involvedObject.name=${name}`);
  return events.map(({ reason, message }) => `${reason}: ${message}`);
}

story('a secret of the pod opens the registry; the status tells the digest', async (t) => {
  const image = `${MAIN}/pod/app:v1`;
  const digest = await push(image);
  await namespaceOf('pod');
  await secretIn('pod', 'login', PASSWORD);
  await cluster.apply(podOf('pod', 'private', image, 'login'));
  const { status } = await running('pod', 'private');
  t.is(status?.containerStatuses?.[0]?.image, image);
  t.is(status?.containerStatuses?.[0]?.imageID, `docker-pullable://${MAIN}/pod/app@${digest}`);
  const events = await eventsOf('pod', 'private');
  t.true(events.includes(`Pulling: Pulling image "${image}"`));
  t.true(
    events.some((event) =>
      /^Pulled: Successfully pulled image .* in \S+ \(\S+ including waiting\)\. Image size: \d+ bytes\.$/.test(event),
    ),
  );
  await cluster.berthOk('prometheus', '/etc/prometheus');
  const identity = ['prometheus.crt', 'prometheus.key'].map((file) => `/etc/prometheus/${file}`);
  const metrics = await cluster.sh(
    `curl -sSf -k --cert ${identity[0]} --key ${identity[1]} https://${cluster.address}:10250/metrics`,
  );
  for (const series of [
    /^kubelet_image_pull_duration_seconds_count\{image_size_in_bytes="0-10MB"\} [1-9]/m,
    /^kubelet_imagemanager_ondisk_pulledrecords [1-9]/m,
    /^kubelet_runtime_operations_total\{operation_type="pull_image"\} [1-9]/m,
  ])
    t.regex(metrics, series);
  const again = `${MAIN}/pod/app@${digest}`;
  await cluster.apply(podOf('pod', 'by-digest', again, 'login'));
  await running('pod', 'by-digest');
  t.true(
    (await eventsOf('pod', 'by-digest')).includes(
      `Pulled: Container image "${again}" already present on machine and can be accessed by the pod`,
    ),
  );
});

story('a secret of the service account does, too', async (t) => {
  const image = `${MAIN}/account/app:v1`;
  await push(image);
  await namespaceOf('account');
  await secretIn('account', 'login', PASSWORD);
  await cluster.kubectl(
    ...['patch', 'serviceaccount', 'default', '-n', 'account'],
    ...['-p', '{"imagePullSecrets":[{"name":"login"}]}'],
  );
  await cluster.apply(podOf('account', 'private', image));
  const { spec } = await running('account', 'private');
  t.deepEqual(spec.imagePullSecrets, [{ name: 'login' }]);
});

story('a wrong password: ErrImagePull, ImagePullBackOff, and once the secret is right the pod runs', async (t) => {
  const image = `${MAIN}/wrong/app:v1`;
  await push(image);
  await namespaceOf('wrong');
  await secretIn('wrong', 'login', 'wrong');
  await cluster.apply(podOf('wrong', 'private', image, 'login'));
  t.is(await waiting('wrong', 'private', 'ErrImagePull'), 'unauthorized: authentication required');
  t.is(
    await waiting('wrong', 'private', 'ImagePullBackOff'),
    `Back-off pulling image "${image}": ErrImagePull: unauthorized: authentication required`,
  );
  await secretIn('wrong', 'login', PASSWORD);
  await running('wrong', 'private');
  const events = await eventsOf('wrong', 'private');
  for (const expected of [
    `Failed: Failed to pull image "${image}": unauthorized: authentication required`,
    'Failed: Error: ErrImagePull',
    `BackOff: Back-off pulling image "${image}"`,
    'Failed: Error: ImagePullBackOff',
  ])
    t.true(events.includes(expected), expected);
});

story('a name that is none, until it is mended', async (t) => {
  await namespaceOf('typo');
  await cluster.apply(podOf('typo', 'typo', 'Team/App:1'));
  t.is(
    await waiting('typo', 'typo', 'InvalidImageName'),
    'Failed to apply default image tag "Team/App:1": couldn\'t parse image name "Team/App:1": invalid reference format: repository name (App) must be lowercase',
  );
  t.true((await eventsOf('typo', 'typo')).includes('Failed: Error: InvalidImageName'));
  await cluster.kubectl('set', 'image', '-n', 'typo', 'pod/typo', 'main=berth/busybox:1');
  await running('typo', 'typo');
});

story('a registry that is down, and back', async (t) => {
  const image = `${SHAKY}/app:v1`;
  startRegistry(SHAKY, 'shaky');
  await push(image);
  await stopRegistry('shaky');
  await namespaceOf('down');
  await secretIn('down', 'login', PASSWORD, SHAKY);
  await cluster.apply(podOf('down', 'private', image, 'login'));
  t.regex(await waiting('down', 'private', 'ErrImagePull'), /dial tcp 127\.0\.0\.1:5001: connect: connection refused$/);
  startRegistry(SHAKY, 'shaky');
  await running('down', 'private');
});

story('a credential provider plugin opens it for pods without secrets', async (t) => {
  const image = `${MAIN}/plugin/app:v1`;
  await push(image);
  await namespaceOf('plugin');
  await cluster.apply(podOf('plugin', 'private', image));
  await running('plugin', 'private');
  const request = JSON.parse((await cluster.sh('cat /var/log/login')).trim().split('\n')[0]!);
  t.deepEqual(request, {
    kind: 'CredentialProviderRequest',
    apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
    image: `${MAIN}/plugin/app`,
  });
});

story('a plugin that wants tokens serves the service accounts that have opted in', async (t) => {
  const image = `${MAIN}/token/app:v1`;
  await push(image);
  await namespaceOf('token');
  await cluster.kubectl('create', 'serviceaccount', 'member', '-n', 'token');
  await cluster.kubectl('annotate', 'serviceaccount', 'member', '-n', 'token', 'example.com/team=blue');
  await cluster.apply(
    pod('member', { image, command: ['sleep', '3600'] }, { serviceAccountName: 'member' }, { namespace: 'token' }),
  );
  await running('token', 'member');
  const request = JSON.parse((await cluster.sh('cat /var/log/token-login')).trim().split('\n')[0]!);
  t.deepEqual(request.serviceAccountAnnotations, { 'example.com/team': 'blue' });
  const claims = JSON.parse(Buffer.from(request.serviceAccountToken.split('.')[1], 'base64url').toString());
  t.like(claims, { aud: ['registry.test'], sub: 'system:serviceaccount:token:member' });
  t.is(claims['kubernetes.io'].pod.name, 'member');
  await cluster.apply(podOf('token', 'outsider', image));
  t.regex(await waiting('token', 'outsider', 'ErrImagePull'), /no basic auth credentials$/);
});

story(
  'another namespace’s private image is only for who may pull it; the demo’s, which were there before, for all',
  async (t) => {
    const image = `${MAIN}/shared/app:v1`;
    await push(image);
    for (const namespace of ['owner', 'copy', 'stranger']) await namespaceOf(namespace);
    await secretIn('owner', 'login', PASSWORD);
    await cluster.apply(podOf('owner', 'private', image, 'login'));
    await running('owner', 'private');
    await secretIn('copy', 'same', PASSWORD);
    await cluster.apply(
      podOf('copy', 'private', image, 'same'),
      podOf('stranger', 'private', image, 'none'),
      podOf('stranger', 'never', image, undefined, { imagePullPolicy: 'Never' }),
    );
    await running('copy', 'private');
    t.true(
      (await eventsOf('copy', 'private')).includes(
        `Pulled: Container image "${image}" already present on machine and can be accessed by the pod`,
      ),
    );
    t.regex(await waiting('stranger', 'private', 'ErrImagePull'), /no basic auth credentials$/);
    t.is(
      await waiting('stranger', 'never', 'ErrImageNeverPull'),
      `Container image "${image}" is not present with pull policy of Never`,
    );
    t.true(
      (await eventsOf('stranger', 'private')).includes(
        'FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (none); attempting to pull the image may not succeed.',
      ),
    );
    await cluster.apply(podOf('stranger', 'preloaded', 'berth/busybox:1'));
    await running('stranger', 'preloaded');
    const records = await cluster.sh(
      'cat /var/lib/berth/kubelet/image_manager/pulled/*; stat -c %a /var/lib/berth/kubelet/image_manager/pulled',
    );
    t.true(records.includes(`"${MAIN}/shared/app":{"kubernetesSecrets":[`), records);
    t.true(records.trim().endsWith('700'));
  },
);
