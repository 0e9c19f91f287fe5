import { groupVersionOf, schemaOf, structSchema } from '../tables.ts';
import { type Json, patchModel, type SchemaSet } from './schemas.ts';

/** What a document must know of a served resource. */
export interface OpenApiResource {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** `create delete deletecollection get list patch update watch`. */
  readonly verbs: readonly string[];
  /** Serves /status. */
  readonly hasStatus?: boolean;
  /** By the last path segment. Verbs: those of the subresource, `create` when absent. Kind: the resource's own when absent. */
  readonly subresources?: Readonly<Record<string, OpenApiSubresource>>;
}

export interface OpenApiSubresource {
  readonly verbs?: readonly string[];
  readonly group?: string;
  readonly version?: string;
  readonly kind?: string;
}

/** A path's methods and shared parameters. */
interface Endpoint {
  path: string;
  resource: OpenApiResource;
  kind: { group: string; version: string; kind: string };
  /** In operation ids and parameters: `Namespaced` paths name a namespace. */
  namespaced: boolean;
  named: boolean;
  /** Status, Scale, Binding …; '' for the resource itself. */
  suffix: string;
}

const objectTypes = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf'];
const listTypes = [...objectTypes, 'application/json;stream=watch', 'application/vnd.kubernetes.protobuf;stream=watch'];
const patchTypes = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
];

const writeParameters = [query('fieldManager', 'string'), query('fieldValidation', 'string')];
const deleteParameters = [
  query('gracePeriodSeconds', 'integer'),
  query('orphanDependents', 'boolean'),
  query('propagationPolicy', 'string'),
];
const listParameters = [
  query('allowWatchBookmarks', 'boolean'),
  query('continue', 'string'),
  query('fieldSelector', 'string'),
  query('labelSelector', 'string'),
  query('limit', 'integer'),
  query('resourceVersion', 'string'),
  query('resourceVersionMatch', 'string'),
  query('sendInitialEvents', 'boolean'),
  query('timeoutSeconds', 'integer'),
  query('watch', 'boolean'),
];

/** The paths of one resource; the types that they name are added to `schemas`. */
export function resourcePaths(resource: OpenApiResource, schemas: SchemaSet): Json {
  const { group, version, kind, plural, namespaced } = resource;
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  const collection = namespaced ? `${root}/namespaces/{namespace}/${plural}` : `${root}/${plural}`;
  const own = { resource, kind: { group, version, kind }, namespaced, suffix: '' };
  const paths: Json = {};
  const put = (endpoint: Endpoint, verbs: readonly string[]): void => {
    const methods = endpointMethods(endpoint, verbs, schemas);
    if (Object.keys(methods).length > 0) paths[endpoint.path] = { ...methods, parameters: pathParameters(endpoint) };
  };
  const has = (...verbs: string[]): string[] => verbs.filter((verb) => resource.verbs.includes(verb));
  put({ ...own, path: collection, named: false }, has('list', 'create', 'deletecollection'));
  if (namespaced)
    put(
      { ...own, path: `${root}/${plural}`, named: false, namespaced: false, suffix: 'ForAllNamespaces' },
      has('list'),
    );
  put({ ...own, path: `${collection}/{name}`, named: true }, has('get', 'update', 'patch', 'delete'));
  if (resource.hasStatus) {
    put({ ...own, path: `${collection}/{name}/status`, named: true, suffix: 'Status' }, ['get', 'update', 'patch']);
  }
  for (const [name, subresource] of Object.entries(resource.subresources ?? {})) {
    const subresourceKind = {
      group: subresource.group ?? group,
      version: subresource.version ?? version,
      kind: subresource.kind ?? kind,
    };
    const suffix = name[0]!.toUpperCase() + name.slice(1);
    const endpoint = { ...own, kind: subresourceKind, path: `${collection}/{name}/${name}`, named: true, suffix };
    put(endpoint, subresource.verbs ?? ['create']);
  }
  return paths;
}

function endpointMethods(endpoint: Endpoint, verbs: readonly string[], schemas: SchemaSet): Json {
  const { group, version, kind } = endpoint.kind;
  const apiVersion = groupVersionOf(group, version);
  const schema = schemaOf(apiVersion, kind);
  if (!schema) return {};
  const object = schemas.reference(schema);
  const listSchema = schemaOf(apiVersion, `${kind}List`);
  const list = listSchema ? schemas.reference(listSchema) : { type: 'object' };
  const status = schemas.reference(structSchema('meta/v1', 'Status'));
  const options = { content: content(['*/*'], schemas.reference(structSchema('meta/v1', 'DeleteOptions'))) };
  const body = { content: content(['*/*'], object), required: true };
  const written = { '200': ok(objectTypes, object), '201': ok(objectTypes, object, 'Created') };
  const deleted = { '200': ok(objectTypes, status), '202': ok(objectTypes, status, 'Accepted') };
  const make: Record<string, () => [method: string, operation: Json]> = {
    list: () => [
      'get',
      operation(endpoint, 'list', { parameters: listParameters, responses: { '200': ok(listTypes, list) } }),
    ],
    create: () => [
      'post',
      operation(endpoint, 'create', { parameters: writeParameters, requestBody: body, responses: written }),
    ],
    get: () => ['get', operation(endpoint, 'read', { responses: { '200': ok(objectTypes, object) } })],
    update: () => [
      'put',
      operation(endpoint, 'replace', { parameters: writeParameters, requestBody: body, responses: written }),
    ],
    patch: () => {
      const patch = { $ref: `#/components/schemas/${patchModel}` };
      const requestBody = { content: content(patchTypes, patch), required: true };
      return ['patch', operation(endpoint, 'patch', { parameters: writeParameters, requestBody, responses: written })];
    },
    delete: () => [
      'delete',
      operation(endpoint, 'delete', { parameters: deleteParameters, requestBody: options, responses: deleted }),
    ],
    deletecollection: () => {
      const parameters = [...listParameters, ...deleteParameters];
      return [
        'delete',
        operation(endpoint, 'deletecollection', { parameters, requestBody: options, responses: deleted }),
      ];
    },
  };
  return Object.fromEntries(verbs.flatMap((verb) => (make[verb] ? [make[verb]()] : [])));
}

const actions: Record<string, string> = { read: 'get', replace: 'put', create: 'post' };

function operation({ resource, kind, namespaced, suffix }: Endpoint, verb: string, rest: Json): Json {
  const group = resource.group.split('.', 1)[0] || 'core';
  const tag = `${group}_${resource.version}`;
  const scope = `${camel(group)}${camel(resource.version)}${verb === 'deletecollection' ? 'Collection' : ''}${namespaced ? 'Namespaced' : ''}`;
  return {
    operationId: `${verb === 'deletecollection' ? 'delete' : verb}${scope}${resource.kind}${suffix}`,
    tags: [tag],
    ...rest,
    'x-kubernetes-action': actions[verb] ?? verb,
    'x-kubernetes-group-version-kind': kind,
  };
}

function pathParameters({ named, namespaced }: Endpoint): Json[] {
  const inPath = (name: string): Json => ({
    in: 'path',
    name,
    required: true,
    schema: { type: 'string', uniqueItems: true },
  });
  return [...(named ? [inPath('name')] : []), ...(namespaced ? [inPath('namespace')] : []), query('pretty', 'string')];
}

function query(name: string, type: string): Json {
  return { in: 'query', name, schema: { type, uniqueItems: true } };
}

function content(mediaTypes: readonly string[], schema: Json): Json {
  return Object.fromEntries(mediaTypes.map((type) => [type, { schema }]));
}

function ok(mediaTypes: readonly string[], schema: Json, description = 'OK'): Json {
  return { description, content: content(mediaTypes, schema) };
}

function camel(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}
