import test from 'ava';
import {
  createOpenApiDocuments,
  documentPath,
  type OpenApiResource,
  openApiDocument,
  openApiIndex,
} from '../../../../src/kube/schema/openapi/document.ts';

interface Schema {
  properties: Record<string, Record<string, unknown>>;
  required?: string[];
  [extension: string]: unknown;
}
interface Operation {
  operationId: string;
  parameters: { name: string; in: string }[];
  requestBody: { content: Record<string, unknown> };
  'x-kubernetes-group-version-kind': unknown;
}
interface Document {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const resources: OpenApiResource[] = [
  {
    group: '',
    version: 'v1',
    kind: 'Pod',
    plural: 'pods',
    namespaced: true,
    verbs,
    hasStatus: true,
    subresources: { binding: { group: '', version: 'v1', kind: 'Binding' }, log: { verbs: ['get'] } },
  },
  { group: '', version: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false, verbs },
  { group: 'apps', version: 'v1', kind: 'Deployment', plural: 'deployments', namespaced: true, verbs, hasStatus: true },
];
const document = (group: string) => JSON.parse(openApiDocument({ group, version: 'v1' }, resources)) as Document;

test('paths follow scope, verbs and subresources', (t) => {
  const { paths } = document('');
  t.deepEqual(
    Object.entries(paths).map(
      ([path, methods]) => `${path} ${Object.keys(methods).filter((key) => key !== 'parameters')}`,
    ),
    [
      '/api/v1/namespaces get,post,delete',
      '/api/v1/namespaces/{namespace}/pods get,post,delete',
      '/api/v1/namespaces/{namespace}/pods/{name} get,put,patch,delete',
      '/api/v1/namespaces/{namespace}/pods/{name}/binding post',
      '/api/v1/namespaces/{namespace}/pods/{name}/log get',
      '/api/v1/namespaces/{namespace}/pods/{name}/status get,put,patch',
      '/api/v1/namespaces/{name} get,put,patch,delete',
      '/api/v1/pods get',
    ],
  );
});

test('PATCH carries what kubectl looks for', (t) => {
  const patch = document('apps').paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}']!['patch']!;
  t.deepEqual(patch['x-kubernetes-group-version-kind'], { group: 'apps', version: 'v1', kind: 'Deployment' });
  t.true(patch.parameters.some((parameter) => parameter.name === 'fieldValidation' && parameter.in === 'query'));
  t.true('application/strategic-merge-patch+json' in patch.requestBody.content);
  t.is(patch.operationId, 'patchAppsV1NamespacedDeployment');
});

test('schemas carry merge rules, enums, defaults and kinds', (t) => {
  const { schemas } = document('').components;
  const core = 'io.k8s.api.core.v1';
  t.deepEqual(schemas[`${core}.Container`]!.properties['ports'], {
    type: 'array',
    items: { allOf: [{ $ref: `#/components/schemas/${core}.ContainerPort` }], default: {} },
    'x-kubernetes-list-map-keys': ['containerPort', 'protocol'],
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-patch-merge-key': 'containerPort',
    'x-kubernetes-patch-strategy': 'merge',
  });
  t.deepEqual(schemas[`${core}.ContainerPort`]!.properties['protocol'], {
    type: 'string',
    enum: ['SCTP', 'TCP', 'UDP'],
    default: 'TCP',
  });
  t.deepEqual(schemas[`${core}.Container`]!.required, ['name']);
  t.deepEqual(schemas[`${core}.Pod`]!['x-kubernetes-group-version-kind'], [{ group: '', kind: 'Pod', version: 'v1' }]);
  t.is(schemas['io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector']!['x-kubernetes-map-type'], 'atomic');
  t.is(schemas[`${core}.PodSpec`]!.properties['volumes']!['x-kubernetes-patch-strategy'], 'merge,retainKeys');
});

test('every reference has its schema', (t) => {
  for (const group of ['', 'apps']) {
    const { components, paths } = document(group);
    const references = JSON.stringify({ components, paths }).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g);
    for (const [, name] of references) t.true(name! in components.schemas, name);
  }
});

test('the index names each document, by a hash of what it depends on', (t) => {
  const { paths } = openApiIndex(resources);
  t.deepEqual(Object.keys(paths), ['api/v1', 'apis/apps/v1']);
  t.regex(paths['api/v1']!.serverRelativeURL, /^\/openapi\/v3\/api\/v1\?hash=[0-9A-F]{32}$/);
  t.not(openApiIndex(resources.slice(1)).paths['api/v1']!.serverRelativeURL, paths['api/v1']!.serverRelativeURL);
  t.deepEqual(openApiIndex(resources.slice(1)).paths['apis/apps/v1'], paths['apis/apps/v1']);
});

test('documents are built once', (t) => {
  const documents = createOpenApiDocuments(resources);
  const path = documentPath({ group: 'apps', version: 'v1' });
  t.deepEqual(JSON.parse(documents.index.toString()), openApiIndex(resources));
  t.is(documents.document(path)!.body, documents.document(path)!.body);
  t.is(documents.document('apis/none/v1'), undefined);
});
