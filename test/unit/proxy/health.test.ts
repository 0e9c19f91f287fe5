import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'ava';
import { createHealthzApp } from '../../../proxy/health/healthz-server.ts';
import { listenHttp } from '../../../proxy/health/listen.ts';
import { createMetricsApp } from '../../../proxy/health/metrics-server.ts';
import { createProxyHealth } from '../../../proxy/health/proxy-health.ts';
import { collectServiceHealthChecks, createServiceHealthServers } from '../../../proxy/health/service-health.ts';
import { createProxyMetrics } from '../../../proxy/metrics.ts';
import type { Node } from '../../../src/kube/types.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { serviceOf, sliceOf, snapshotOf } from '../../support/proxy.ts';

const nodeWith = (spec: object, metadata: object = {}) => ({ metadata: { name: 'node-1', ...metadata }, spec }) as Node;

test('healthy unless a change waits for longer than the timeout, in any family; the oldest change counts', async (t) => {
  const clock = createFakeClock();
  const health = createProxyHealth({ clock, timeoutMs: 60_000 });
  t.true(health.state().isHealthy, 'nothing waits');
  health.updated('IPv4');
  health.queued('IPv4');
  await clock.advance(50_000);
  health.queued('IPv4');
  t.true(health.state().isHealthy);
  await clock.advance(10_001);
  t.like(health.state(), { isHealthy: false, lastUpdatedMs: clock.nowMs() - 60_001 });
  health.updated('IPv4');
  t.like(health.state(), { isHealthy: true, lastUpdatedMs: clock.nowMs() });
  health.queued('IPv6');
  await clock.advance(60_001);
  health.updated('IPv4');
  t.false(health.state().isHealthy);
});

test('healthz: a node on its way out is not eligible; livez does not care', async (t) => {
  const clock = createFakeClock(Date.UTC(2026, 0, 2, 3, 4, 5));
  const health = createProxyHealth({ clock, timeoutMs: 60_000 });
  const registry = new Registry();
  const metrics = createProxyMetrics(registry, 'iptables');
  let overdue: { name: string }[] = [];
  const app = createHealthzApp({ ...metrics, state: health.state, overdueLoops: () => overdue });
  const listener = await listenHttp('127.0.0.1:0', 'x', app);
  t.teardown(listener.close);
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${listener.address.port}${path}`);
    return { code: response.status, type: response.headers.get('content-type'), body: await response.text() };
  };
  const time = '2026-01-02 03:04:05.000 +0000 UTC';
  t.deepEqual(await ask('/healthz'), {
    code: 200,
    type: 'application/json',
    body: `{"lastUpdated":"${time}","currentTime":"${time}","nodeEligible":true}`,
  });
  for (const node of [
    nodeWith({ taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] }),
    nodeWith({}, { deletionTimestamp: '2026-01-01T00:00:00Z' }),
  ]) {
    health.nodeChanged(node);
    t.is((await ask('/healthz')).code, 503);
    t.deepEqual(await ask('/livez'), {
      code: 200,
      type: 'application/json',
      body: `{"lastUpdated":"${time}","currentTime":"${time}"}`,
    });
  }
  health.nodeChanged(nodeWith({}));
  overdue = [{ name: 'proxy-IPv4' }];
  t.is((await ask('/livez')).code, 503);
  t.regex(await registry.metrics(), /kubeproxy_proxy_healthz_total\{code="503"\} 2/);
});

test('the metrics port: mode, metrics, config, health', async (t) => {
  const registry = new Registry();
  createProxyMetrics(registry, 'iptables');
  const listener = await listenHttp(
    '127.0.0.1:0',
    'x',
    createMetricsApp({
      metrics: registry,
      mode: 'iptables',
      config: { a: 1 },
      program: { version: 'v1.36.0', flags: { 'proxy-mode': 'iptables' } },
      enableProfiling: false,
      clock: createFakeClock(),
    }),
  );
  t.teardown(listener.close);
  const ask = async (path: string) => (await fetch(`http://127.0.0.1:${listener.address.port}${path}`)).text();
  t.is(await ask('/proxyMode'), 'iptables');
  t.is(await ask('/healthz'), 'ok');
  t.regex(await ask('/metrics'), /kubeproxy_sync_proxy_rules_iptables_total/);
  t.is(await ask('/configz'), '{"kubeproxy.config.k8s.io":{"a":1}}');
  t.regex(await ask('/statusz'), /kube-proxy statusz[\s\S]*Binary version: v1\.36\.0/);
  t.regex(await ask('/flagz'), /kube-proxy flags[\s\S]*proxy-mode=iptables/);
  t.regex(await ask('/debug/pprof/'), /Cannot GET/, 'not unless enableProfiling');
});

test('a busy port is named with its field', async (t) => {
  const other = createServer();
  await once(other.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => other.close());
  const { port } = other.address() as AddressInfo;
  await t.throwsAsync(
    listenHttp(`127.0.0.1:${port}`, 'healthzBindAddress', () => {}),
    {
      message: `cannot listen on 127.0.0.1:${port}: another program listens there; free it, or set healthzBindAddress to another address`,
    },
  );
});

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('healthCheckNodePort: counts ready local pods once, follows changes, closes when the service goes', async (t) => {
  const port = await freePort();
  const service = serviceOf('ns/lb', '10.96.0.1', {
    type: 'LoadBalancer',
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: port,
    ports: [
      { name: 'a', port: 80, protocol: 'TCP' },
      { name: 'b', port: 81, protocol: 'TCP' },
    ],
  });
  const ports = [
    { name: 'a', port: 8080, protocol: 'TCP' as const },
    { name: 'b', port: 8081, protocol: 'TCP' as const },
  ];
  const leaving = { ip: '10.244.0.3', conditions: { ready: false, serving: true, terminating: true } };
  const away = { ip: '10.244.2.3', nodeName: 'node-2' };
  let isHealthy = true;
  const warnings: string[] = [];
  const servers = createServiceHealthServers({
    isProxyHealthy: () => isHealthy,
    log: silentLogger,
    warn: (_service, message) => warnings.push(message),
  });
  t.teardown(servers.close);
  const sync = (endpoints: Parameters<typeof sliceOf>[1]) =>
    servers.sync(collectServiceHealthChecks(snapshotOf([service], [sliceOf('ns/lb', endpoints, { ports })])), [
      '127.0.0.1',
    ]);
  const ask = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/any`);
    return [response.status, response.headers.get('x-load-balancing-endpoint-weight'), await response.text()];
  };
  const body = (count: number, healthy = true) =>
    `{\n\t"service": {\n\t\t"namespace": "ns",\n\t\t"name": "lb"\n\t},\n\t"localEndpoints": ${count},\n\t"serviceProxyHealthy": ${healthy}\n}`;
  await sync(['10.244.0.2', leaving, away]);
  t.deepEqual(await ask(), [200, '1', body(1)]);
  await sync([leaving, away]);
  t.deepEqual(await ask(), [503, '0', body(0)]);
  await sync(['10.244.0.2', '10.244.0.4']);
  isHealthy = false;
  t.deepEqual(await ask(), [503, '2', body(2, false)]);
  await servers.sync(new Map(), ['127.0.0.1']);
  await t.throwsAsync(ask());
  t.deepEqual(warnings, []);
});
