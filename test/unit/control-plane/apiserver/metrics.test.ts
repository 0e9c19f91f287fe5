import test from 'ava';
import { parseRequestInfo } from '../../../../control-plane/apiserver/request-info.ts';
import { createServerMetrics } from '../../../../control-plane/apiserver/server-metrics.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';

function setUp() {
  const registry = new Registry();
  const pods = { subresources: { log: {} } } as never;
  const metrics = createServerMetrics(registry, { count: () => 0 } as never, {
    find: (group, version, plural) => (`${group}/${version}/${plural}` === '/v1/pods' ? pods : undefined),
  });
  const request = (method: string, path: string, code = 200) => {
    const url = new URL(path, 'https://server');
    metrics.request(parseRequestInfo(method, url.pathname, url.searchParams)!, method, code, 0.01);
  };
  const lines = async (name: string) =>
    (await registry.metrics()).split('\n').filter((line) => line.startsWith(`${name}{`));
  return { request, lines };
}

test('requests carry labels of upstream', async (t) => {
  const { request, lines } = setUp();
  request('GET', '/api/v1/namespaces/default/pods?limit=5');
  request('GET', '/api/v1/pods?watch=1');
  request('POST', '/api/v1/namespaces/default/pods', 201);
  request('GET', '/api/v1/namespaces/default/pods/p/log');
  const common = 'group="",version="v1",resource="pods"';
  t.deepEqual(await lines('apiserver_request_total'), [
    `apiserver_request_total{verb="LIST",${common},subresource="",scope="namespace",component="apiserver",dry_run="",code="200"} 1`,
    `apiserver_request_total{verb="WATCH",${common},subresource="",scope="cluster",component="apiserver",dry_run="",code="200"} 1`,
    `apiserver_request_total{verb="POST",${common},subresource="",scope="resource",component="apiserver",dry_run="",code="201"} 1`,
    `apiserver_request_total{verb="CONNECT",${common},subresource="log",scope="resource",component="apiserver",dry_run="",code="200"} 1`,
  ]);
  t.is((await lines('apiserver_request_sli_duration_seconds_count')).length, 2, 'streams have no duration');
});

test('what clients make up is no label: a million of them is one series', async (t) => {
  const { request, lines } = setUp();
  for (const name of ['a', 'b', 'c']) {
    request('GET', `/apis/${name}.example/v1/${name}s/x`, 404);
    request('GET', `/api/v1/pods/p/${name}`, 404);
    request(`X${name}`, `/${name}`, 405);
  }
  t.is((await lines('apiserver_request_total')).length, 2);
});
