import test from 'ava';
import { parseRequestInfo } from '../../../../control-plane/apiserver/request-info.ts';

const parse = (request: string) => {
  const [method, url] = request.split(' ') as [string, string];
  const [path, query] = url.split('?') as [string, string | undefined];
  const info = parseRequestInfo(method, path, new URLSearchParams(query));
  if (!info) return undefined;
  const { isResource, verb, group, version, resource, subresource, namespace, name, rest } = info;
  return isResource
    ? [verb, group, version, resource, subresource, namespace, name, ...rest].join('|')
    : `path ${verb}`;
};

const CASES: Record<string, string> = {
  'GET /api/v1/namespaces/default/pods': 'list||v1|pods||default|',
  'GET /api/v1/namespaces/default/pods/x': 'get||v1|pods||default|x',
  'GET /api/v1/pods?watch=1': 'watch||v1|pods|||',
  'GET /api/v1/pods?watch=false': 'list||v1|pods|||',
  'GET /api/v1/watch/namespaces/default/pods': 'watch||v1|pods||default|',
  'GET /api/v1/watch/pods': 'watch||v1|pods|||',
  'POST /api/v1/namespaces/default/pods/x/binding': 'create||v1|pods|binding|default|x',
  'PUT /apis/apps/v1/namespaces/default/deployments/d/status': 'update|apps|v1|deployments|status|default|d',
  'PATCH /apis/apps/v1/namespaces/default/deployments/d': 'patch|apps|v1|deployments||default|d',
  'DELETE /api/v1/nodes/n': 'delete||v1|nodes|||n',
  'DELETE /api/v1/namespaces/default/pods': 'deletecollection||v1|pods||default|',
  'GET /api/v1/namespaces/default': 'get||v1|namespaces||default|default',
  'GET /api/v1/namespaces': 'list||v1|namespaces|||',
  'PUT /api/v1/namespaces/default/finalize': 'update||v1|namespaces|finalize|default|default',
  'GET /api/v1/namespaces/default/status': 'get||v1|namespaces|status|default|default',
  'GET /api/v1/namespaces/d/services/s/proxy/a/b': 'get||v1|services|proxy|d|s|a|b',
  'GET /api/v1/namespaces/d/pods/a%2Fb': 'get||v1|pods||d|a/b',
  'GET /api/v1/nodes/n/': 'get||v1|nodes|||n',
  'HEAD /api/v1/nodes/n': 'get||v1|nodes|||n',
  'GET /api': 'path get',
  'GET /api/v1': 'path get',
  'GET /apis/apps/v1': 'path get',
  'POST /healthz': 'path post',
};

for (const [request, expected] of Object.entries(CASES))
  test(request, (t) => {
    t.is(parse(request), expected);
  });

test('a malformed escape is no request', (t) => {
  t.is(parse('GET /api/v1/pods/%zz'), undefined);
});
