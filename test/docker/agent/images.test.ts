/** Images from a real registry (Debian's docker-registry) through a real Engine. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { formatImageId } from '../../../agent/containers/observe.ts';
import { readCredentialProviderConfig } from '../../../agent/images/credential-providers/config.ts';
import type { ImageSettings } from '../../../agent/images/image-parts.ts';
import { createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import type { Pod } from '../../../src/kube/types.ts';
import { run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { eventually } from '../../support/eventually.ts';
import { pullSecret, startImageParts } from '../../support/image-parts.ts';
import { loadBusyboxAs } from '../../support/images.ts';
import {
  forgetImage,
  pushTestImage,
  registryOrWhyNot,
  stopRegistry,
  writeRegistryFiles,
} from '../../support/registry.ts';
import { openSlowLink } from '../../support/slow-link.ts';
import { podOf } from '../../unit/agent/pod.ts';

const HOST = '127.0.0.1:5000';
const IMAGE = `${HOST}/team/app:v1`;
const PASSWORD = 'right';
const auth = { username: 'reader', password: PASSWORD };
/** An address that the Engine does not take for its own machine's: it wants a certificate there. */
const TLS_ADDRESS = '192.0.2.44';

const found = await registryOrWhyNot();
const obstacle = whyNoDockerd() ?? ('skip' in found ? found.skip : undefined);
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let registry: ChildProcess;
let folder: string;
let digest: string;

async function listening(port: number, host = '127.0.0.1'): Promise<void> {
  await eventually(
    `${host}:${port} listens`,
    () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, host);
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
        socket.unref().once('connect', () => socket.destroy());
      }),
  );
}

async function startRegistry(
  options: { address?: string; tls?: { certPem: string; keyPem: string }; name?: string } = {},
) {
  const address = options.address ?? HOST;
  const argv = writeRegistryFiles('program' in found ? found.program : '', {
    folder: join(folder, options.name ?? 'main'),
    address,
    users: { reader: PASSWORD },
    ...(options.tls && { tls: options.tls }),
  });
  const child = spawn(argv[0]!, argv.slice(1), { stdio: 'ignore' });
  const [host, port] = address.split(':');
  await listening(Number(port), host);
  return child;
}

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'berth-registry-'));
    engine = await startDockerd();
    registry = await startRegistry();
    digest = await pushTestImage(engine.socketPath, IMAGE, { label: 'one', auth });
  });
  test.after.always(async () => {
    if (registry) await stopRegistry(registry);
    await engine?.stop();
    if (folder) await rm(folder, { recursive: true, force: true });
  });
}

/** The parts of images on the real Engine, which has none of the test's images. */
async function setUp(t: ExecutionContext, settings: Partial<ImageSettings> = {}) {
  for (const { id } of await engine.docker.listImages()) await forgetImage(engine.socketPath, id);
  const { secrets, events, images, metric } = await startImageParts(
    t,
    { backoff: { initialMs: 300, maxMs: 1000 }, ...settings },
    { docker: engine.docker, clock: systemClock },
  );
  const give = (namespace: string, name: string, password: string, host = HOST) =>
    secrets.set(`${namespace}/${name}`, pullSecret(name, { [host]: { ...auth, password } }, namespace));
  const ensure = (
    namespace: string,
    names: string[] = [],
    image = IMAGE,
    { signal = new AbortController().signal, policy }: { signal?: AbortSignal; policy?: string } = {},
  ) => {
    const container = { name: 'app', image, ...(policy && { imagePullPolicy: policy }) };
    const spec = { containers: [container], imagePullSecrets: names.map((name) => ({ name })) };
    const pod = podOf(spec as Partial<Pod['spec']>, { namespace, uid: `uid-${namespace}` });
    return images.ensure(pod, container as Pod['spec']['containers'][0], signal);
  };
  return { secrets, events, metric, give, ensure };
}

const refusal = async (work: Promise<unknown>) => {
  const error = (await work.then(
    () => new Error('it went through'),
    (reason) => reason,
  )) as Error & { reason?: string };
  return `${error.reason}: ${error.message}`;
};

real('a password that is wrong, then right: refused, backed off, had', async (t) => {
  const { give, ensure, events, metric } = await setUp(t);
  give('a', 's', 'wrong');
  t.is(await refusal(ensure('a', ['s'])), 'ErrImagePull: unauthorized: authentication required');
  t.is(
    await refusal(ensure('a', ['s'])),
    `ImagePullBackOff: Back-off pulling image "${IMAGE}": ErrImagePull: unauthorized: authentication required`,
  );
  give('a', 's', PASSWORD);
  await systemClock.sleep(300);
  const detail = await ensure('a', ['s']);
  t.deepEqual(detail.repoDigests, [`${HOST}/team/app@${digest}`]);
  t.is(formatImageId(detail.id, detail.repoDigests, IMAGE), `docker-pullable://${HOST}/team/app@${digest}`);
  t.regex(
    events.at(-1)!,
    /Successfully pulled image "127\.0\.0\.1:5000\/team\/app:v1" in \S+ \(\S+ including waiting\)\. Image size: \d{7} bytes\./,
  );
  t.true((await metric('berth_image_pull_downloaded_bytes_total')) > 100_000);
});

real('without credentials', async (t) => {
  const { ensure } = await setUp(t);
  t.regex(
    await refusal(ensure('a')),
    /^ErrImagePull: Head "http:\/\/127\.0\.0\.1:5000\/v2\/team\/app\/manifests\/v1": no basic auth credentials$/,
  );
});

real('several credentials: all are tried; when none is good, each failure is told once', async (t) => {
  const { give, ensure } = await setUp(t);
  give('a', 's1', 'wrong');
  give('a', 's2', 'wrong too');
  t.is(await refusal(ensure('a', ['s1', 's2'])), 'ErrImagePull: unauthorized: authentication required');
  give('b', 's1', 'wrong');
  give('b', 's2', PASSWORD);
  t.truthy(await ensure('b', ['s1', 's2']));
});

real('by digest, and by a tag beside it, which does not count', async (t) => {
  const { give, ensure } = await setUp(t);
  give('a', 's', PASSWORD);
  const byDigest = await ensure('a', ['s'], `${HOST}/team/app@${digest}`);
  t.deepEqual(byDigest.repoTags, []);
  const both = await ensure('a', ['s'], `${HOST}/team/app:v7@${digest}`);
  t.is(both.id, byDigest.id);
  const { id } = await engine.docker.createContainer('by-id', { Image: both.id });
  await engine.docker.removeContainer(id);
  const unknown = `${HOST}/team/app@sha256:${'0'.repeat(64)}`;
  t.is(await refusal(ensure('b', ['s'], unknown)).then((text) => text.includes('no basic auth')), true);
  t.regex(await refusal(ensure('a', ['s'], unknown)), /^ErrImagePull: manifest for .* not found: manifest unknown/);
});

real('a tag or repository that is not there', async (t) => {
  const { give, ensure } = await setUp(t);
  give('a', 's', PASSWORD);
  t.is(
    await refusal(ensure('a', ['s'], `${HOST}/team/app:v9`)),
    `ErrImagePull: manifest for ${HOST}/team/app:v9 not found: manifest unknown: manifest unknown`,
  );
  t.regex(await refusal(ensure('a', ['s'], `${HOST}/team/none`)), /manifest for .*\/team\/none:latest not found/);
});

real('a registry that is down, and back', async (t) => {
  const { give, ensure } = await setUp(t);
  give('a', 's', PASSWORD);
  await stopRegistry(registry);
  t.is(
    await refusal(ensure('a', ['s'])),
    `ErrImagePull: Get "http://${HOST}/v2/": dial tcp 127.0.0.1:5000: connect: connection refused`,
  );
  registry = await startRegistry();
  await systemClock.sleep(300);
  t.truthy(await ensure('a', ['s']));
});

real('who may use a private image: NeverVerifyPreloadedImages, over two namespaces', async (t) => {
  const { give, ensure } = await setUp(t);
  give('a', 's', PASSWORD);
  give('b', 'copy', PASSWORD);
  give('c', 'wrong', 'wrong');
  await ensure('a', ['s']);
  await stopRegistry(registry);
  try {
    t.truthy(await ensure('a', ['s']), 'from here on nobody asks the registry');
    t.truthy(await ensure('b', ['copy']));
    for (const [namespace, names] of [
      ['c', ['wrong']],
      ['d', []],
    ] as const)
      t.regex(await refusal(ensure(namespace, [...names])), /connection refused/);
    t.regex(await refusal(ensure('d', [], IMAGE, { policy: 'Never' })), /^ErrImageNeverPull: /);
  } finally {
    registry = await startRegistry();
  }
  await loadBusyboxAs(engine.socketPath, 'berth/preloaded:1', 'preloaded');
  t.truthy(await ensure('d', [], 'berth/preloaded:1'));
});

real('AlwaysVerify: what was preloaded must be pulled; NeverVerify: what was pulled is everybody’s', async (t) => {
  const strict = await setUp(t, { verification: { policy: 'AlwaysVerify', allowlist: [] } });
  await loadBusyboxAs(engine.socketPath, IMAGE, 'one');
  t.regex(await refusal(strict.ensure('d')), /no basic auth credentials/);
  strict.give('a', 's', PASSWORD);
  t.truthy(await strict.ensure('a', ['s']));
  const open = await setUp(t, { verification: { policy: 'NeverVerify', allowlist: [] } });
  open.give('a', 's', PASSWORD);
  await open.ensure('a', ['s']);
  t.truthy(await open.ensure('d'));
});

real('a credential provider plugin', async (t) => {
  const plugins = await mkdtemp(join(tmpdir(), 'berth-plugins-'));
  t.teardown(() => rm(plugins, { recursive: true }));
  const response = {
    kind: 'CredentialProviderResponse',
    apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
    cacheKeyType: 'Registry',
    auth: { [HOST]: auth },
  };
  await writeFile(join(plugins, 'login'), `#!/bin/sh\ncat >/dev/null\necho '${JSON.stringify(response)}'\n`);
  await chmod(join(plugins, 'login'), 0o755);
  const provider = {
    name: 'login',
    matchImages: ['127.0.0.1:5000/team'],
    defaultCacheDuration: '1m',
    apiVersion: response.apiVersion,
  };
  const config = { apiVersion: 'kubelet.config.k8s.io/v1', kind: 'CredentialProviderConfig', providers: [provider] };
  await writeFile(join(plugins, 'config.yaml'), JSON.stringify(config));
  const credentialProviders = {
    ...readCredentialProviderConfig(join(plugins, 'config.yaml')),
    binDir: plugins,
    environment: {},
  };
  const { ensure, metric } = await setUp(t, { credentialProviders });
  t.truthy(await ensure('a'));
  t.truthy(await ensure('b'), 'the node may, so its pods may');
  t.is(await metric('kubelet_credential_provider_plugin_duration', { plugin_name: 'login' }), 1);
});

real('a pull that gets stuck is cancelled in the Engine too, and goes through once the link flows', async (t) => {
  const link = await openSlowLink(5000);
  t.teardown(() => link.close());
  const host = `127.0.0.1:${link.port}`;
  const { give, ensure, metric } = await setUp(t, { progressDeadlineMs: 1000 });
  give('a', 's', PASSWORD, host);
  link.stallAfter(200_000);
  t.regex(
    await refusal(ensure('a', ['s'], `${host}/team/app:v1`)),
    /^ErrImagePull: no progress within 1 s, pull cancelled \(last: /,
  );
  t.is(await metric('berth_image_pull_stalls_total'), 1);
  link.flow();
  await eventually('the Engine has hung up', () => link.open() === 0);
  await t.throwsAsync(engine.docker.inspectImage(`${host}/team/app:v1`), { message: /No such image/ });
  await systemClock.sleep(300);
  t.truthy(await ensure('a', ['s'], `${host}/team/app:v1`));
});

real('a pull whose pod has gone ends in the Engine', async (t) => {
  const link = await openSlowLink(5000);
  t.teardown(() => link.close());
  const host = `127.0.0.1:${link.port}`;
  const { give, ensure, metric } = await setUp(t);
  give('a', 's', PASSWORD, host);
  link.stallAfter(200_000);
  const gone = new AbortController();
  const work = ensure('a', ['s'], `${host}/team/app:v1`, { signal: gone.signal });
  await eventually('it downloads', async () => (await metric('berth_image_pull_downloaded_bytes_total')) > 0);
  gone.abort(new Error('the pod is gone'));
  await t.throwsAsync(work, { message: 'the pod is gone' });
  // The Engine notices by the next byte.
  link.flow();
  await eventually('the Engine has hung up', () => link.open() === 0);
  await systemClock.sleep(500);
  await t.throwsAsync(engine.docker.inspectImage(`${host}/team/app:v1`), { message: /No such image/ });
});

real('an Engine that is restarted in the middle of a pull: tried again soon, without a back-off', async (t) => {
  const link = await openSlowLink(5000);
  t.teardown(() => link.close());
  const image = `127.0.0.1:${link.port}/team/app:v1`;
  const { give, ensure, metric } = await setUp(t);
  give('a', 's', PASSWORD, `127.0.0.1:${link.port}`);
  link.stallAfter(200_000);
  const work = ensure('a', ['s'], image).then(
    () => undefined,
    (error) => error as Error & { reason?: string; retryAfterMs?: number },
  );
  await eventually('it downloads', async () => (await metric('berth_image_pull_downloaded_bytes_total')) > 0);
  await engine.restart();
  const error = await work;
  t.like(error, { reason: 'ErrImagePull', retryAfterMs: 1000 }, error?.message);
  link.flow();
  t.truthy(await ensure('a', ['s'], image));
});

real('a registry with a certificate: unknown, then known to the Engine', async (t) => {
  await run('ip', ['address', 'add', `${TLS_ADDRESS}/32`, 'dev', 'lo']);
  await run('ip', ['link', 'set', 'lo', 'up']);
  const address = `${TLS_ADDRESS}:5443`;
  const certs = `/etc/docker/certs.d/${address}`;
  const ca = await createCertificateAuthority({ commonName: 'tests', days: 1, nowMs: Date.now() });
  const tls = await issueCertificate(ca, {
    commonName: 'registry',
    ipAddresses: [TLS_ADDRESS],
    usages: ['server'],
    days: 1,
    nowMs: Date.now(),
  });
  const child = await startRegistry({ address, tls, name: 'tls' });
  t.teardown(async () => {
    await stopRegistry(child);
    await rm(certs, { recursive: true, force: true });
    await run('ip', ['address', 'del', `${TLS_ADDRESS}/32`, 'dev', 'lo']);
  });
  const { give, ensure } = await setUp(t);
  give('a', 's', PASSWORD, address);
  const image = `${address}/team/app:v1`;
  t.regex(
    await refusal(ensure('a', ['s'], image)),
    /^ErrImagePull: Get "https:\/\/192\.0\.2\.44:5443\/v2\/": x509: certificate signed by unknown authority/,
  );
  await mkdir(certs, { recursive: true });
  await writeFile(join(certs, 'ca.crt'), ca.certPem);
  await pushTestImage(engine.socketPath, image, { label: 'tls', auth });
  await systemClock.sleep(300);
  t.truthy(await ensure('a', ['s'], image));
});

for (const [status, body, expected] of [
  [429, '{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}', /^ErrImagePull: toomanyrequests: slow down$/],
  [
    503,
    '<html><body>down</body></html>',
    /^RegistryUnavailable: image pull failed for 127\.0\.0\.1:5001\/a:1 because the registry is unavailable: received unexpected HTTP status: 503 Service Unavailable$/,
  ],
  [502, '<html><body>down</body></html>', /^RegistryUnavailable: .*502 Bad Gateway$/],
  [403, '<html><body>no</body></html>', /^ErrImagePull: error parsing HTTP 403 response body: .*\(an HTML page\)$/],
] as const)
  real(`a registry that answers ${status}`, async (t) => {
    const server = createServer((request, response) => {
      const isPing = request.url === '/v2/';
      response.writeHead(isPing ? 200 : status, {
        'content-type': body.startsWith('{') ? 'application/json' : 'text/html',
      });
      response.end(isPing ? '{}' : body);
    });
    await new Promise<void>((resolve) => server.listen(5001, '127.0.0.1', resolve));
    t.teardown(() => {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    });
    const { ensure } = await setUp(t);
    t.regex(await refusal(ensure('a', [], '127.0.0.1:5001/a:1')), expected);
  });
