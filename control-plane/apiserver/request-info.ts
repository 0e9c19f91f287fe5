/** What a request asks for, read from its method, path and query alone (as upstream's RequestInfoFactory does). */
export interface RequestInfo {
  /** False for /healthz, /metrics, discovery and everything else that is no resource. */
  readonly isResource: boolean;
  readonly path: string;
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  /** Path segments behind the subresource (proxy paths). */
  readonly rest: readonly string[];
  /** '' for cluster scope and all namespaces. */
  readonly namespace: string;
  /** '' for collections. */
  readonly name: string;
}

/** These follow /namespaces/NAME and belong to the namespace itself. */
const NAMESPACE_SUBRESOURCES = new Set(['status', 'finalize']);

/** Undefined when the path has a malformed percent escape. */
export function parseRequestInfo(method: string, path: string, query: URLSearchParams): RequestInfo | undefined {
  let parts: string[];
  try {
    parts = path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    return undefined;
  }
  const root = parts[0] === 'api' ? 2 : parts[0] === 'apis' ? 3 : undefined;
  // /api, /api/v1, /apis, /apis/G and /apis/G/V are discovery.
  if (root === undefined || parts.length <= root) return nonResource(method, path);
  const group = root === 3 ? parts[1]! : '';
  const version = parts[root - 1]!;
  let rest = parts.slice(root);
  const legacyWatch = rest[0] === 'watch' && rest.length > 1;
  if (legacyWatch) rest = rest.slice(1);
  let namespace = '';
  if (rest[0] === 'namespaces' && rest.length > 2 && !NAMESPACE_SUBRESOURCES.has(rest[2]!)) {
    namespace = rest[1]!;
    rest = rest.slice(2);
  }
  const [resource = '', name = '', subresource = '', ...behind] = rest;
  // The authorization of a namespace's own requests names it in both places, as upstream does.
  if (resource === 'namespaces' && group === '' && name) namespace = name;
  return {
    isResource: true,
    path,
    verb: verbOf(method, name, legacyWatch || isTrue(query.get('watch'))),
    group,
    version,
    resource,
    subresource,
    rest: behind,
    namespace,
    name,
  };
}

function nonResource(method: string, path: string): RequestInfo {
  const verb = method.toLowerCase();
  return {
    isResource: false,
    path,
    verb,
    group: '',
    version: '',
    resource: '',
    subresource: '',
    rest: [],
    namespace: '',
    name: '',
  };
}

function verbOf(method: string, name: string, watch: boolean): string {
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (watch) return 'watch';
      return name ? 'get' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return name ? 'delete' : 'deletecollection';
    default:
      return '';
  }
}

/** Query booleans: `1`, `true`, `t` and the bare key are true (Go's conversion). */
export function isTrue(value: string | null): boolean {
  return value !== null && !['0', 'false', 'f', 'F', 'False', 'FALSE'].includes(value);
}
