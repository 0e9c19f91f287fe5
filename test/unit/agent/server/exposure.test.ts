/** What a node shows to whom: nothing without credentials, health alone on the port for this host, each path under the subresource that upstream asks for. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../../agent/config/kubelet-configuration.ts';
import { createAccess } from '../../../../agent/server/access.ts';
import { certifiedAccess, subresourcesOf, verbOf } from '../../../../agent/server/authorization.ts';
import { createAgentServer } from '../../../../agent/server/server.ts';
import { createNodeMetrics } from '../../../../agent/stats/metrics.ts';
import { type CertificatePair, createCertificateAuthority, issueCertificate } from '../../../../src/auth/authority.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { serverDefaults } from '../../../fakes/server-defaults.ts';
import { noStatistics } from '../../../fakes/statistics.ts';
import { podOf } from '../pod.ts';
import { observed, run } from '../status/cases.ts';

const PATHS = [
  ...[
    '/',
    '/healthz',
    '/healthz/ping',
    '/healthz/syncloop',
    '/pods',
    '/runningpods/',
    '/configz',
    '/statusz',
    '/flagz',
  ],
  ...['/metrics', '/metrics/cadvisor', '/metrics/resource', '/metrics/probes', '/metrics/slis', '/stats/summary'],
  ...['/logs/', '/logs/syslog', '/containerLogs/ns/pod/c', '/run/ns/pod/c?cmd=id', '/checkpoint/ns/pod/c'],
  ...['/exec/ns/pod/c?command=id', '/attach/ns/pod/c', '/portForward/ns/pod', '/debug/pprof/', '/debug/pprof/heap'],
  ...['/debug/flags/v', '/nothing/of/the/kind'],
];
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** A node that fails when anybody gets as far as its pods or its Engine. */
async function scene(t: ExecutionContext) {
  const validity = { days: 1, nowMs: Date.now() };
  const ca = await createCertificateAuthority({ commonName: 'ca', ...validity });
  const serving = await issueCertificate(ca, {
    commonName: 'n',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
    ...validity,
  });
  const admin = await issueCertificate(ca, {
    commonName: 'admin',
    organizations: ['system:masters'],
    usages: ['client'],
    ...validity,
  });
  const touched: string[] = [];
  const forbidden = (what: string) => () => {
    touched.push(what);
    throw new Error(`${what} was reached`);
  };
  const pods = {
    list: forbidden('list'),
    get() {
      touched.push('get');
      return podOf({ containers: [{ name: 'c' }] });
    },
    getByUid: forbidden('getByUid'),
    runtime: () => observed([run('c')]),
    lastRelistMonotonicMs: () => 0,
  };
  const [registry, probeRegistry] = [new Registry(), new Registry()];
  const server = createAgentServer(
    {
      address: '127.0.0.1',
      port: 0,
      healthzBindAddress: '127.0.0.1',
      healthzPort: 0,
      ...serving,
      clientCaPem: ca.certPem,
    },
    {
      ...serverDefaults,
      pods,
      docker: { containerLogs: forbidden('containerLogs') },
      heartbeats: { register: () => () => {}, overdue: () => [] },
      registry,
      probeRegistry,
      statistics: noStatistics,
      metrics: createNodeMetrics(
        { nodeName: 'n' },
        { registry, probeRegistry, pods: { list: () => [], runtime: () => undefined }, clock: systemClock },
      ),
      configuration: forbidden('configuration'),
      systemLogs: { directory: '/var/log' },
      refuseAccess: createAccess({ authorize: certifiedAccess }, { log: silentLogger }),
      clock: systemClock,
      log: silentLogger,
    },
  );
  const { port, healthzPort } = await server.listen();
  t.teardown(() => server.close());
  const base = { host: '127.0.0.1', agent: false } as const;
  const ask = (path: string, method: string, headers: Record<string, string> = {}, client?: CertificatePair) =>
    answer(
      httpsRequest({
        ...base,
        port,
        path,
        method,
        headers,
        ca: ca.certPem,
        ...(client && { cert: client.certPem, key: client.keyPem }),
      }),
    );
  const askHealth = (path: string, method: string) => answer(httpRequest({ ...base, port: healthzPort, path, method }));
  return { ask, askHealth, admin, touched };
}

function answer(call: ReturnType<typeof httpRequest>): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    call.on('error', reject);
    call.on('response', (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, text }));
    });
    call.end();
  });
}

test('CVE-2025-0426: without credentials every path is 401, whatever the method, streams too, and nothing is touched', async (t) => {
  const { ask, touched } = await scene(t);
  for (const path of PATHS)
    for (const method of path.startsWith('/checkpoint') ? METHODS : ['GET', 'POST'])
      t.is((await ask(path, method)).status, 401, `${method} ${path}`);
  for (const upgrade of ['SPDY/3.1', 'websocket'])
    for (const path of ['/exec/ns/pod/c?command=id', '/attach/ns/pod/c', '/portForward/ns/pod'])
      for (const method of ['GET', 'POST'])
        t.is((await ask(path, method, { connection: 'Upgrade', upgrade })).status, 401, `${upgrade} ${method} ${path}`);
  for (const authorization of ['Bearer guess', 'Basic YTpi', 'Bearer '])
    t.is((await ask('/checkpoint/ns/pod/c', 'POST', { authorization })).status, 401, authorization);
  t.deepEqual(touched, []);
});

test('CVE-2025-0426: /checkpoint is refused by name to those who may ask, and writes nothing', async (t) => {
  const { ask, admin, touched } = await scene(t);
  for (const method of ['POST', 'GET']) {
    const { status, text } = await ask('/checkpoint/ns/pod/c', method, {}, admin);
    t.true([404, 405, 500, 501].includes(status), `${method} ${status}`);
    if (method === 'POST') t.regex(text, /checkpoint/);
  }
  t.deepEqual(touched, ['get'], 'the pod is looked up; nothing else of the node is reached');
});

test('CVE-2025-0426: there is no read-only port', (t) => {
  t.throws(
    () =>
      loadConfig(kubeletConfiguration, { flags: [{ flag: '--read-only-port', field: 'readOnlyPort', value: 10255 }] }),
    { message: /readOnlyPort.*not supported/ },
  );
});

test('CVE-2019-11248: the port without credentials knows health and nothing else, and is for this host', async (t) => {
  const { askHealth, touched } = await scene(t);
  for (const path of PATHS.filter((one) => !one.startsWith('/healthz')))
    for (const method of ['GET', 'POST', 'PUT']) t.is((await askHealth(path, method)).status, 404, `${method} ${path}`);
  t.like(await askHealth('/healthz', 'GET'), { status: 200, text: 'ok' });
  t.deepEqual(touched, []);
  t.is(loadConfig(kubeletConfiguration).healthzBindAddress, '127.0.0.1');
});

for (const [path, ...subresources] of [
  ['/healthz', 'healthz', 'proxy'],
  ['/healthz/syncloop', 'healthz', 'proxy'],
  ['/pods', 'pods', 'proxy'],
  ['/runningpods/', 'pods', 'proxy'],
  ['/configz', 'configz', 'proxy'],
  ['/statusz', 'statusz', 'proxy'],
  ['/stats/summary', 'stats'],
  ['/metrics', 'metrics'],
  ['/metrics/cadvisor', 'metrics'],
  ['/metrics/probes', 'metrics'],
  ['/logs/', 'log'],
  ['/logs/syslog', 'log'],
  ['/checkpoint/ns/pod/c', 'checkpoint'],
  ['/flagz', 'proxy'],
  ['/containerLogs/ns/pod/c', 'proxy'],
  ['/exec/ns/pod/c', 'proxy'],
  ['/attach/ns/pod/c', 'proxy'],
  ['/portForward/ns/pod', 'proxy'],
  ['/run/ns/pod/c', 'proxy'],
  ['/debug/pprof/heap', 'proxy'],
  ['/debug/flags/v', 'proxy'],
  // What only looks like one of them is worth the most.
  ['/', 'proxy'],
  ['/metricsx', 'proxy'],
  ['/METRICS', 'proxy'],
  ['/%6detrics', 'proxy'],
  ['//metrics', 'proxy'],
  ['/./metrics', 'proxy'],
] as const)
  test(`subresources of nodes that ${path} asks for: ${subresources.join(', ')}`, (t) => {
    t.deepEqual(subresourcesOf(path), subresources);
  });

test('verbs of methods', (t) => {
  t.deepEqual(METHODS.map(verbOf), ['get', 'get', 'create', 'update', 'patch', 'delete', 'options']);
});
