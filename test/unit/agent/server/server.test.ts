import { request as httpGet } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { type ConnectionOptions, connect } from 'node:tls';
import test from 'ava';
import type { PodDirectory } from '../../../../agent/pods/ports.ts';
import { createAccess } from '../../../../agent/server/access.ts';
import { certifiedAccess } from '../../../../agent/server/authorization.ts';
import { createAgentServer } from '../../../../agent/server/server.ts';
import { createNodeMetrics } from '../../../../agent/stats/metrics.ts';
import { type CertificatePair, createCertificateAuthority, issueCertificate } from '../../../../src/auth/authority.ts';
import type { LogChunk, LogOptions } from '../../../../src/docker/engine.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { type Clock, systemClock } from '../../../../src/runtime/clock.ts';
import { createLogger, silentLogger } from '../../../../src/runtime/log.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { serverDefaults } from '../../../fakes/server-defaults.ts';
import { noStatistics } from '../../../fakes/statistics.ts';
import { eventually } from '../../../support/agent.ts';
import { podOf } from '../pod.ts';
import { observed, run } from '../status/cases.ts';

const validity = { days: 1, nowMs: Date.now() };

async function certificates() {
  const [ca, other] = await Promise.all(
    ['node-ca', 'other-ca'].map((commonName) => createCertificateAuthority({ commonName, ...validity })),
  );
  const client = (authority: typeof ca, commonName: string, organizations: string[] = []) =>
    issueCertificate(authority!, { commonName, organizations, usages: ['client'], ...validity });
  return {
    ca: ca!,
    serving: await issueCertificate(ca!, {
      commonName: 'n1',
      ipAddresses: ['127.0.0.1'],
      usages: ['server'],
      ...validity,
    }),
    apiServer: await client(ca, 'kube-apiserver-kubelet-client'),
    admin: await client(ca, 'admin', ['system:masters']),
    prometheus: await client(ca, 'berth-prometheus', ['system:monitoring']),
    node: await client(ca, 'system:node:n2', ['system:nodes']),
    stranger: await client(other, 'kube-apiserver-kubelet-client', ['system:masters']),
  };
}

const pod: Pod = {
  ...podOf({ containers: [{ name: 'app' }, { name: 'new' }] }),
  status: {
    phase: 'Running',
    containerStatuses: [
      {
        name: 'app',
        ready: true,
        restartCount: 1,
        image: '',
        imageID: '',
        containerID: 'docker://app1',
        state: { running: {} },
        lastState: { terminated: { exitCode: 1, containerID: 'docker://app0' } },
      },
      {
        name: 'new',
        ready: false,
        restartCount: 0,
        image: '',
        imageID: '',
        state: { waiting: { reason: 'ErrImagePull' } },
      },
    ],
  },
};

async function scene(deps: Partial<Parameters<typeof createAgentServer>[1]> = {}) {
  const certs = await certificates();
  const pods: PodDirectory = {
    list: () => [pod],
    get: (namespace, name) => (namespace === 'default' && name === 'web' ? pod : undefined),
    getByUid: () => pod,
    runtime: () => observed([run('app')]),
    lastRelistMonotonicMs: () => 0,
  };
  const [registry, probeRegistry] = [new Registry(), new Registry()];
  const metrics = createNodeMetrics({ nodeName: 'n1' }, { registry, probeRegistry, pods, clock: systemClock });
  const health = { overdue: [] as { name: string; silentMs: number; maxSilenceMs: number }[] };
  const asked: [string, LogOptions][] = [];
  let followers = 0;
  async function* containerLogs(id: string, options: LogOptions, signal?: AbortSignal): AsyncGenerator<LogChunk> {
    asked.push([id, options]);
    yield { stream: 'stdout', data: Buffer.from('one\n') };
    yield { stream: 'stderr', data: Buffer.from('two\n') };
    if (!options.follow) return;
    followers++;
    await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
    followers--;
  }
  const server = createAgentServer(
    {
      address: '127.0.0.1',
      port: 0,
      healthzBindAddress: '127.0.0.1',
      healthzPort: 0,
      ...certs.serving,
      clientCaPem: certs.ca.certPem,
    },
    {
      pods,
      docker: { containerLogs },
      heartbeats: { register: () => () => {}, overdue: () => health.overdue },
      registry,
      probeRegistry,
      statistics: noStatistics,
      metrics,
      configuration: () => ({ kind: 'KubeletConfiguration' }),
      ...serverDefaults,
      refuseAccess: createAccess({ authorize: certifiedAccess }, { log: silentLogger }),
      clock: systemClock,
      log: silentLogger,
      ...deps,
    },
  );
  const { port, healthzPort } = await server.listen();
  const get = (path: string, client?: CertificatePair, method = 'GET', body = '') =>
    new Promise<{ status: number; text: string; type: string }>((resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port,
          path,
          method,
          ca: certs.ca.certPem,
          agent: false,
          ...(client && { cert: client.certPem, key: client.keyPem }),
        },
        (response) => {
          let text = '';
          response.on('data', (chunk) => {
            text += chunk;
          });
          response.on('end', () =>
            resolve({ status: response.statusCode!, text, type: response.headers['content-type'] ?? '' }),
          );
        },
      );
      call.on('error', reject);
      call.end(body);
    });
  return { certs, server, get, port, healthzPort: healthzPort!, health, asked, followers: () => followers };
}

test('who may ask', async (t) => {
  const { certs, server, get } = await scene();
  t.like(await get('/pods'), { status: 401, text: 'Unauthorized' });
  t.like(await get('/pods', certs.stranger), { status: 401 });
  t.like(await get('/pods', certs.node), {
    status: 403,
    text: 'Forbidden (user=system:node:n2, verb=get, resource=nodes, subresource=[pods proxy])',
  });
  t.like(await get('/run/default/web/app', certs.node, 'POST'), {
    status: 403,
    text: 'Forbidden (user=system:node:n2, verb=create, resource=nodes, subresource=[proxy])',
  });
  t.like(await get('/pods', certs.admin), { status: 200 });
  t.like(await get('/pods', certs.apiServer), { status: 200 });
  await server.close();
});

test('who scrapes may read metrics, and nothing else', async (t) => {
  const { certs, server, get } = await scene();
  for (const path of ['/metrics', '/metrics/probes']) t.like(await get(path, certs.prometheus), { status: 200 });
  for (const path of ['/pods', '/configz', '/healthz', '/metricsx', '/containerLogs/default/web/app'])
    t.like(await get(path, certs.prometheus), { status: 403 });
  t.like(await get('/metrics', certs.prometheus, 'POST'), { status: 403 });
  await server.close();
});

test('paths that clients make up share one label', async (t) => {
  const { certs, server, get } = await scene();
  for (const path of ['/a', '/b/c', '/%41']) await get(path, certs.admin);
  await get('/pods');
  const { text } = await get('/metrics', certs.admin);
  const paths = [...text.matchAll(/^kubelet_http_requests_total\{.*path="([^"]*)".*\} (\d+)/gm)];
  t.deepEqual(
    paths.map(([, path, count]) => [path, count]),
    [
      ['other', '3'],
      ['pods', '1'],
    ],
  );
  await server.close();
});

test('pods, configuration, health, metrics, what comes later', async (t) => {
  const { certs, server, get, health } = await scene();
  const ask = (path: string) => get(path, certs.apiServer);
  const list = JSON.parse((await ask('/pods')).text);
  t.is(list.kind, 'PodList');
  t.is(list.items[0].metadata.name, 'web');
  const running = JSON.parse((await ask('/runningpods/')).text);
  t.deepEqual(running.items[0].spec.containers, [{ name: 'app', image: 'busybox', resources: {} }]);
  t.deepEqual(JSON.parse((await ask('/configz')).text), { kubeletconfig: { kind: 'KubeletConfiguration' } });
  t.like(await ask('/healthz'), { status: 200, text: 'ok' });
  health.overdue = [{ name: 'syncloop', silentMs: 200_000, maxSilenceMs: 60_000 }];
  const sick = await ask('/healthz');
  t.is(sick.status, 500);
  t.regex(sick.text, /\[-\]syncloop failed: silent for 200 s, promised 60 s/);
  const metrics = (await ask('/metrics')).text;
  for (const line of [
    'kubelet_node_name{node="n1"} 1',
    'kubelet_running_pods 1',
    'kubelet_running_containers{container_state="running"} 1',
    'kubelet_desired_pods{static="false"} 1',
  ])
    t.true(metrics.includes(line), line);
  t.like(await ask('/metrics/probes'), { status: 200 });
  t.like(await ask('/exec/default/web/app?command=sh'), {
    status: 400,
    text: 'Upgrade request required\n',
  });
  t.like(await ask('/stats/other'), { status: 404 });
  t.like(await ask('/checkpoint/default/web/app'), { status: 405, text: '405: Method Not Allowed\n' });
  t.like(await ask('/nothing'), { status: 404 });
  await server.close();
});

test('logs', async (t) => {
  const { certs, server, get, asked } = await scene();
  const logs = (query = '', container = 'app', name = 'web') =>
    get(`/containerLogs/default/${name}/${container}${query}`, certs.apiServer);
  t.like(await logs(), { status: 200, text: 'one\ntwo\n', type: 'text/plain; charset=utf-8' });
  t.is(asked[0]![0], 'app1');
  t.is((await logs('?limitBytes=6')).text, 'one\ntw');
  await logs('?previous=true&tailLines=3&timestamps=true&stream=All&sinceTime=2026-01-01T00:00:00Z');
  t.deepEqual(asked.at(-1), [
    'app0',
    {
      follow: false,
      timestamps: true,
      tail: 3,
      sinceMs: Date.parse('2026-01-01T00:00:00Z'),
      stdout: true,
      stderr: true,
      tty: false,
    },
  ]);
  t.like(await logs('', 'app', 'nope'), { status: 404, text: 'pod "nope" does not exist\n' });
  t.like(await logs('', 'nope'), { status: 404, text: 'container "nope" not found in pod "web"\n' });
  t.like(await logs('', 'new'), {
    status: 400,
    text: 'container "new" in pod "web" is waiting to start: trying and failing to pull image\n',
  });
  t.like(await logs('?previous=true', 'new'), {
    status: 400,
    text: 'previous terminated container "new" in pod "web" not found\n',
  });
  for (const query of [
    '?tailLines=-1',
    '?limitBytes=0',
    '?sinceSeconds=x',
    '?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z',
    '?stream=Other',
  ])
    t.is((await logs(query)).status, 422, query);
  await server.close();
});

test('a follower gets what is there, and its end ends the stream from Docker', async (t) => {
  const { certs, server, port, followers } = await scene();
  const { certPem: cert, keyPem: key } = certs.apiServer;
  await new Promise<void>((resolve) => {
    const call = request(
      {
        host: '127.0.0.1',
        port,
        path: '/containerLogs/default/web/app?follow=true',
        ca: certs.ca.certPem,
        cert,
        key,
        agent: false,
      },
      (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
          if (text === 'one\ntwo\n') call.destroy();
        });
        response.on('error', () => {});
        response.on('close', () => resolve());
      },
    );
    call.end();
  });
  await eventually('nobody follows', () => followers() === 0);
  t.pass();
  await server.close();
});

test('health check port', async (t) => {
  const { server, healthzPort, health } = await scene();
  const get = (path: string) =>
    new Promise<[number, string]>((resolve) => {
      httpGet({ host: '127.0.0.1', port: healthzPort, path, agent: false }, (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => resolve([response.statusCode!, text]));
      }).end();
    });
  t.deepEqual(await get('/healthz'), [200, 'ok']);
  t.is((await get('/pods'))[0], 404);
  health.overdue = [{ name: 'relist', silentMs: 1, maxSilenceMs: 0 }];
  t.is((await get('/healthz'))[0], 500);
  await server.close();
});

test('a busy port is named, and nothing stays open', async (t) => {
  const { certs, server: first } = await scene();
  await first.close();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as AddressInfo;
  const server = createAgentServer(
    {
      address: '127.0.0.1',
      port: 0,
      healthzBindAddress: '127.0.0.1',
      healthzPort: port,
      ...certs.serving,
      clientCaPem: certs.ca.certPem,
    },
    { log: silentLogger, clock: systemClock } as never,
  );
  await t.throwsAsync(server.listen(), {
    message: new RegExp(
      `the node health check \\(healthzPort\\) cannot listen on 127.0.0.1:${port}: another process listens there`,
    ),
  });
  const stop = new AbortController();
  stop.abort();
  await t.throwsAsync(server.run(stop.signal));
  other.close();
});

test('TLS: forward secrecy and authenticated encryption, nothing before 1.2', async (t) => {
  const { certs, server, port } = await scene();
  const handshake = (options: ConnectionOptions) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, ca: certs.ca.certPem, ...options }, () => {
        resolve(`${socket.getProtocol()} ${socket.getCipher().name}`);
        socket.destroy();
      });
      socket.once('error', reject);
    });
  t.regex(await handshake({}), /^TLSv1\.3 TLS_/);
  t.is(
    await handshake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }),
    'TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256',
  );
  for (const ciphers of ['ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'AES128-GCM-SHA256'])
    await t.throwsAsync(handshake({ maxVersion: 'TLSv1.2', ciphers }), undefined, ciphers);
  await t.throwsAsync(handshake({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
  await server.close();
});

test('how it was called, since when it runs; what is off says so', async (t) => {
  const { certs, server, get } = await scene();
  t.regex(
    (await get('/statusz', certs.apiServer)).text,
    /kubelet statusz\nWarning: [\s\S]+\nBinary version: v1\.36\.0\n/,
  );
  t.regex((await get('/flagz', certs.apiServer)).text, /kubelet flags\nWarning: /);
  t.like(await get('/logs/', certs.apiServer), { status: 405, text: 'logs endpoint is disabled.\n' });
  t.like(await get('/run/default/web/app', certs.apiServer), { status: 405 });
  t.like(await get('/run/default/web/app', certs.apiServer, 'POST'), {
    status: 400,
    text: 'you must specify the command: cmd=…\n',
  });
  t.like(await get('/run/default/nope/app?cmd=id', certs.apiServer, 'POST'), {
    status: 404,
    text: 'pod does not exist\n',
  });
  t.like(await get('/checkpoint/default/web/app', certs.apiServer, 'POST'), {
    status: 500,
    text: 'checkpointing of default/web/app failed (containers of the Docker Engine cannot be checkpointed by this agent)\n',
  });
  t.like(await get('/checkpoint/default/nope/app', certs.apiServer, 'POST'), { status: 404 });
  t.like(await get('/checkpoint/default/web/nope', certs.apiServer, 'POST'), { status: 404 });
  await server.close();
});

test('a known path with another method is a 405', async (t) => {
  const { certs, server, get } = await scene();
  for (const path of [
    '/pods',
    '/runningpods/',
    '/stats/summary',
    '/configz',
    '/metrics',
    '/metrics/cadvisor',
    '/logs/x',
    '/containerLogs/default/web/app',
    '/debug/pprof/profile',
  ])
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
      t.like(await get(path, certs.admin, method), { status: 405 }, `${method} ${path}`);
  for (const path of ['/run/default/web/app', '/checkpoint/default/web/app'])
    t.like(await get(path, certs.admin), { status: 405 }, path);
  t.like(await get('/containerLogs/default/web', certs.admin, 'POST'), { status: 404 });
  await server.close();
});

/** Tells when a profile of 277 seconds has begun, and ends it when told. */
function profilingClock() {
  const [begun, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const clock: Clock = {
    ...systemClock,
    async sleep(ms, signal) {
      if (ms !== 277_000) return systemClock.sleep(ms, signal);
      begun.resolve();
      await Promise.race([ended.promise, systemClock.sleep(ms, signal)]);
    },
  };
  return { clock, begun: begun.promise, end: () => ended.resolve() };
}

test.serial('profiles: CPU and heap, one at a time, for who may do everything with the node', async (t) => {
  const { clock, begun, end } = profilingClock();
  const { certs, server, get } = await scene({ clock });
  t.like(await get('/debug/pprof/profile', certs.prometheus), { status: 403 });
  t.regex((await get('/debug/pprof/', certs.admin)).text, /cpuprofile/);
  t.regex((await get('/debug/pprof/cmdline', certs.admin)).text, /node\0/);
  t.like(await get('/debug/pprof/goroutine', certs.admin), { status: 404 });
  for (const seconds of ['0', '301', 'x', '-1', '1.5'])
    t.like(await get(`/debug/pprof/profile?seconds=${seconds}`, certs.admin), { status: 400 });
  const asked = get('/debug/pprof/profile?seconds=277', certs.admin);
  await begun;
  const busy = await get('/debug/pprof/heap?seconds=1', certs.admin);
  t.like(busy, { status: 500, text: 'Could not enable heap profiling: profiling already in use\n' });
  end();
  const cpu = await asked;
  t.is(cpu.type, 'application/json; charset=utf-8');
  t.true(JSON.parse(cpu.text).nodes.length > 0);
  const heap = JSON.parse((await get('/debug/pprof/heap?seconds=1', certs.admin)).text);
  t.is(heap.head.callFrame.functionName, '(root)');
  await server.close();
});

test.serial('profiles: who leaves ends his', async (t) => {
  const { clock, begun } = profilingClock();
  const { certs, server, get, port } = await scene({ clock });
  const call = request({
    host: '127.0.0.1',
    port,
    path: '/debug/pprof/profile?seconds=277',
    ca: certs.ca.certPem,
    cert: certs.admin.certPem,
    key: certs.admin.keyPem,
    agent: false,
  });
  call.on('error', () => {});
  call.end();
  await begun;
  t.is((await get('/debug/pprof/heap?seconds=1', certs.admin)).status, 500);
  call.destroy();
  await eventually('it is over', async () => (await get('/debug/pprof/heap?seconds=1', certs.admin)).status === 200);
  t.pass();
  await server.close();
});

test('handlers that are switched off say so', async (t) => {
  const off = await scene({ profilingHandler: false, debugFlagsHandler: false });
  const ask = (path: string, method = 'GET') => off.get(path, off.certs.admin, method);
  t.like(await ask('/debug/pprof/'), { status: 405, text: 'profiling endpoint is disabled.\n' });
  t.like(await ask('/debug/flags/v', 'PUT'), { status: 405, text: 'flags endpoint is disabled.\n' });
  await off.server.close();
  const none = await scene({ debuggingHandlers: false });
  for (const path of ['/runningpods/', '/logs/', '/run/default/web/app', '/exec/a/b/c', '/debug/pprof/heap'])
    t.like(await none.get(path, none.certs.admin), { status: 405, text: 'Debug endpoints are disabled.\n' }, path);
  t.like(await none.get('/pods', none.certs.admin), { status: 200 });
  await none.server.close();
});

test('the verbosity of the log is set while it runs', async (t) => {
  const log = createLogger({ level: 'info' });
  const child = log.child({ part: 'x' });
  const { certs, server, get } = await scene({ log });
  const put = (body: string) => get('/debug/flags/v', certs.admin, 'PUT', body);
  log.info = () => {};
  t.like(await put('5'), { status: 200, text: 'successfully set klog.logging.verbosity to 5' });
  t.deepEqual([log.level, child.level], ['debug', 'debug']);
  await put('9');
  t.is(child.level, 'trace');
  await put('2');
  t.is(child.level, 'info');
  for (const body of ['', 'x', '-1', '1e3', '9'.repeat(1000)]) t.like(await put(body), { status: 400 }, body);
  t.like(await get('/debug/flags/v', certs.admin), { status: 406, text: 'unsupported http method' });
  await server.close();
});
