import { isDeepStrictEqual } from 'node:util';
import { applyPatch } from 'rfc6902';
import type { KubeClient, ListOptions, WatchEvent, WatchOptions } from '../../src/kube/client.ts';
import { ApiError } from '../../src/kube/errors.ts';
import { apiVersionOf, objectKey, type Resource } from '../../src/kube/resources.ts';
import { strategicMerge } from '../../src/kube/schema/strategic-merge.ts';
import { schemaOf } from '../../src/kube/schema/tables.ts';
import { matchesFields, parseFieldSelector, parseLabelSelector } from '../../src/kube/selectors.ts';
import type { Draft, KubeObject, Pod, Status } from '../../src/kube/types.ts';
import { type Clock, timestamp } from '../../src/runtime/clock.ts';

type Method = 'get' | 'list' | 'watch' | 'create' | 'replace' | 'patch' | 'delete';
type Anything = KubeObject & { spec?: Record<string, unknown>; status?: Record<string, unknown> };

export interface FakeKubeClient extends KubeClient {
  /** Puts an object in as the server would hold it, status included; for setting scenes. */
  seed<T extends KubeObject>(resource: Resource<T>, draft: Draft<T>): T;
  /** The stored object, or undefined. */
  peek<T extends KubeObject>(resource: Resource<T>, key: string): T | undefined;
  all<T extends KubeObject>(resource: Resource<T>): T[];
  /** Changes an object like another client would (spec and status at once, generation moves with the spec). */
  edit<T extends KubeObject>(resource: Resource<T>, key: string, change: (object: T) => void): T;
  /** Ends all watches with 410 Expired and forgets the history. */
  compact(): void;
  /** Drops all Event objects, and the history that watches could begin from. */
  forgetEvents(): void;
  /** The next call of this method on this plural throws `error`. */
  failNext(method: Method, plural: string, error: unknown): void;
  /** 'create pods', 'replace pods/status', … of everything that tried to write. */
  readonly writes: string[];
}

/** A KubeClient over a small in-memory API: versions, conflicts, generations, finalizers, graceful pod deletion, watches with history. */
export function createFakeKubeClient(clock: Clock): FakeKubeClient {
  const collections = new Map<string, Map<string, Anything>>();
  const watchers = new Set<{
    id: string;
    deliver(event: WatchEvent<Anything>, old?: Anything): void;
    expire(): void;
  }>();
  let history: { id: string; event: WatchEvent<Anything>; old?: Anything; version: number }[] = [];
  let version = 1;
  let compactedAt = 0;
  let names = 0;
  const failures: { method: Method; plural: string; error: unknown }[] = [];
  const writes: string[] = [];

  const idOf = (resource: Resource) => `${resource.group}/${resource.plural}`;
  function collection(resource: Resource): Map<string, Anything> {
    const id = idOf(resource);
    if (!collections.has(id)) collections.set(id, new Map());
    return collections.get(id)!;
  }
  const give = <T>(object: Anything): T => deepFreeze(structuredClone(object)) as T;

  function enter(method: Method, resource: Resource, subresource?: string) {
    if (method !== 'get' && method !== 'list' && method !== 'watch')
      writes.push(`${method} ${resource.plural}${subresource ? `/${subresource}` : ''}`);
    const at = failures.findIndex((failure) => failure.method === method && failure.plural === resource.plural);
    if (at >= 0) throw failures.splice(at, 1)[0]!.error;
  }

  function emit(resource: Resource, type: 'ADDED' | 'MODIFIED' | 'DELETED', object: Anything, old?: Anything) {
    const event = { type, object: structuredClone(object) } as WatchEvent<Anything>;
    history.push({ id: idOf(resource), event, old, version });
    for (const watcher of watchers) if (watcher.id === idOf(resource)) watcher.deliver(event, old);
  }

  function find(resource: Resource, namespace: string | undefined, name: string): Anything {
    const object = collection(resource).get(resource.namespaced ? `${namespace}/${name}` : name);
    if (!object) throw refusal(404, 'NotFound', `${resource.plural} "${name}" not found`);
    return object;
  }

  function insert(resource: Resource, draft: Anything): Anything {
    const object = structuredClone(draft);
    object.apiVersion = apiVersionOf(resource);
    object.kind = resource.kind;
    const { metadata } = object;
    if (!metadata.name && metadata.generateName)
      metadata.name = metadata.generateName + (++names).toString(36).padStart(5, '0');
    metadata.uid ||= `uid-${resource.plural}-${metadata.namespace ?? ''}-${metadata.name}-${version}`;
    metadata.creationTimestamp ||= timestamp(clock.nowMs());
    metadata.generation ??= 1;
    metadata.resourceVersion = String(++version);
    const key = objectKey(object);
    if (collection(resource).has(key))
      throw refusal(409, 'AlreadyExists', `${resource.plural} "${metadata.name}" already exists`);
    collection(resource).set(key, object);
    emit(resource, 'ADDED', object);
    return object;
  }

  /** Stores a changed object; removes it when its deletion has nothing more to wait for. */
  function store(resource: Resource, old: Anything, object: Anything): Anything {
    if (isDeepStrictEqual(old, object)) return old;
    if (!isDeepStrictEqual(old.spec, object.spec)) object.metadata.generation = (old.metadata.generation ?? 0) + 1;
    object.metadata.resourceVersion = String(++version);
    const held = (object.spec?.['finalizers'] as string[] | undefined)?.length;
    const waitsForNode = resource.plural === 'pods' && (object.metadata.deletionGracePeriodSeconds ?? 0) > 0;
    if (object.metadata.deletionTimestamp && !object.metadata.finalizers?.length && !held && !waitsForNode) {
      collection(resource).delete(objectKey(object));
      emit(resource, 'DELETED', object, old);
    } else {
      collection(resource).set(objectKey(object), object);
      emit(resource, 'MODIFIED', object, old);
    }
    return object;
  }

  function update(resource: Resource, old: Anything, changed: Anything, subresource: string | undefined): Anything {
    if (changed.metadata.resourceVersion && changed.metadata.resourceVersion !== old.metadata.resourceVersion)
      throw refusal(409, 'Conflict', 'the object has been modified; please apply your changes to the latest version');
    const next = structuredClone(
      subresource === 'status' ? { ...old, metadata: changed.metadata, status: changed.status } : changed,
    );
    if (subresource === undefined && old.status !== undefined) next.status = structuredClone(old.status);
    const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation } = old.metadata;
    Object.assign(next.metadata, { uid, creationTimestamp, generation });
    next.metadata.resourceVersion = old.metadata.resourceVersion;
    if (deletionTimestamp) Object.assign(next.metadata, { deletionTimestamp, deletionGracePeriodSeconds });
    return store(resource, old, next);
  }

  function selects({ namespace, labelSelector, fieldSelector }: Partial<ListOptions>) {
    const labels = parseLabelSelector(labelSelector ?? '');
    const fields = parseFieldSelector(fieldSelector ?? '');
    return (object: Anything) =>
      (!namespace || object.metadata.namespace === namespace) &&
      labels.matches(object.metadata.labels) &&
      matchesFields(fields, Object.fromEntries(fields.map(({ field }) => [field, fieldOf(object, field)])));
  }

  async function* watch(resource: Resource, options: WatchOptions): AsyncGenerator<WatchEvent<Anything>> {
    enter('watch', resource);
    const from = Number(options.resourceVersion);
    if (from < compactedAt) throw refusal(410, 'Expired', 'too old resource version');
    const selected = selects(options);
    const queue: WatchEvent<Anything>[] = [];
    let wake: (() => void) | undefined;
    let expired = false;
    const watcher = {
      id: idOf(resource),
      deliver(event: WatchEvent<Anything>, old?: Anything) {
        if (event.type === 'BOOKMARK') return;
        const now = event.type !== 'DELETED' && selected(event.object);
        const before = old ? selected(old) : false;
        if (!now && !before) return;
        const type = now ? (before ? 'MODIFIED' : 'ADDED') : 'DELETED';
        queue.push({ type, object: give(event.object) });
        wake?.();
      },
      expire() {
        expired = true;
        wake?.();
      },
    };
    for (const past of history)
      if (past.id === watcher.id && past.version > from) watcher.deliver(past.event, past.old);
    watchers.add(watcher);
    const onAbort = () => wake?.();
    options.signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!options.signal.aborted) {
        const event = queue.shift();
        if (event) yield event;
        else if (expired) throw refusal(410, 'Expired', 'too old resource version');
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      watchers.delete(watcher);
    }
  }

  function bind(namespace: string, name: string, binding: { target: { name: string } }): Status {
    const podsResource = { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true };
    const old = find(podsResource, namespace, name) as unknown as Pod;
    if (old.spec.nodeName)
      throw refusal(409, 'Conflict', `pod ${name} is already assigned to node "${old.spec.nodeName}"`);
    const next = structuredClone(old);
    next.spec.nodeName = binding.target.name;
    next.status = {
      ...next.status,
      conditions: [
        ...(next.status?.conditions ?? []).filter(({ type }) => type !== 'PodScheduled'),
        { type: 'PodScheduled', status: 'True', lastTransitionTime: timestamp(clock.nowMs()) },
      ],
    };
    store(podsResource, old as unknown as Anything, next as unknown as Anything);
    return success();
  }

  const client = {
    async get(resource: Resource, { namespace, name }: { namespace?: string; name: string }) {
      enter('get', resource);
      return give(find(resource, namespace, name));
    },
    async list(resource: Resource, options: ListOptions = {}) {
      enter('list', resource);
      const items = [...collection(resource).values()].filter(selects(options)).map((object) => give(object));
      return { items, metadata: { resourceVersion: String(version) } };
    },
    watch,
    async create(
      resource: Resource,
      draft: Anything,
      options: { namespace?: string; name?: string; subresource?: string } = {},
    ) {
      enter('create', resource, options.subresource);
      if (options.subresource === 'binding') return bind(options.namespace!, options.name!, draft as never);
      const metadata = { ...draft.metadata };
      if (resource.namespaced) metadata.namespace ??= options.namespace;
      const inNamespace = collections.get('/namespaces')?.get(metadata.namespace ?? '');
      if (inNamespace?.metadata.deletionTimestamp)
        throw refusal(403, 'Forbidden', 'namespace is being terminated', 'NamespaceTerminating');
      return give(insert(resource, { ...draft, metadata }));
    },
    async replace(resource: Resource, object: Anything, { subresource }: { subresource?: string } = {}) {
      enter('replace', resource, subresource);
      const old = find(resource, object.metadata.namespace, object.metadata.name);
      return give(update(resource, old, object, subresource));
    },
    async patch(
      resource: Resource,
      options: { namespace?: string; name: string; subresource?: string; type: string; patch: unknown },
    ) {
      enter('patch', resource, options.subresource);
      const old = find(resource, options.namespace, options.name);
      let next = structuredClone(old);
      if (options.type === 'json') {
        const failed = applyPatch(next, options.patch as never).find((error) => error !== null);
        if (failed) throw refusal(422, 'Invalid', failed.message);
      } else if (options.type === 'strategic') {
        const schema = schemaOf(apiVersionOf(resource), resource.kind)!;
        next = strategicMerge(next as never, options.patch as never, schema) as never;
      } else mergePatch(next, options.patch);
      if (next.metadata.uid !== old.metadata.uid) throw refusal(409, 'Conflict', 'uid: field is immutable');
      return give(update(resource, old, next, options.subresource));
    },
    async delete(
      resource: Resource,
      options: {
        namespace?: string;
        name: string;
        uid?: string;
        resourceVersion?: string;
        gracePeriodSeconds?: number;
        propagationPolicy?: string;
      },
    ) {
      enter('delete', resource);
      const old = find(resource, options.namespace, options.name);
      const { uid, resourceVersion } = old.metadata;
      if ((options.uid ?? uid) !== uid || (options.resourceVersion ?? resourceVersion) !== resourceVersion)
        throw refusal(409, 'Conflict', 'the precondition does not hold');
      const next = structuredClone(old);
      const finalizers = new Set(next.metadata.finalizers);
      if (options.propagationPolicy === 'Foreground') finalizers.add('foregroundDeletion');
      if (options.propagationPolicy === 'Orphan') finalizers.add('orphan');
      if (finalizers.size > 0) next.metadata.finalizers = [...finalizers];
      let graceSeconds = 0;
      if (resource.plural === 'pods') {
        const pod = old as unknown as Pod;
        const isQuick = !pod.spec.nodeName || pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
        graceSeconds = isQuick ? 0 : (options.gracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30);
      }
      const earlier = old.metadata.deletionGracePeriodSeconds ?? Number.POSITIVE_INFINITY;
      next.metadata.deletionTimestamp ??= timestamp(clock.nowMs() + graceSeconds * 1000);
      next.metadata.deletionGracePeriodSeconds = Math.min(earlier, graceSeconds);
      if (resource.plural === 'namespaces') next.status = { ...next.status, phase: 'Terminating' };
      const stored = store(resource, old, next);
      return collection(resource).has(objectKey(stored)) ? give(stored) : success();
    },
    raw: async () => {
      throw new Error('the fake has no raw paths');
    },
    close: async () => {},
    seed(resource: Resource, draft: Anything) {
      return give(insert(resource, draft));
    },
    peek(resource: Resource, key: string) {
      const object = collection(resource).get(key);
      return object && give(object);
    },
    all: (resource: Resource) => [...collection(resource).values()].map((object) => give(object)),
    edit(resource: Resource, key: string, change: (object: Anything) => void) {
      const old = collection(resource).get(key);
      if (!old) throw new Error(`${resource.plural} has no ${key}`);
      const next = structuredClone(old);
      change(next);
      return give(store(resource, old, next));
    },
    compact() {
      compactedAt = version;
      history = [];
      for (const watcher of [...watchers]) watcher.expire();
    },
    forgetEvents() {
      collections.delete('/events');
      history = [];
    },
    failNext(method: Method, plural: string, error: unknown) {
      failures.push({ method, plural, error });
    },
    writes,
  };
  return client as unknown as FakeKubeClient;
}

function refusal(code: number, reason: string, message: string, cause?: string): ApiError {
  const details = cause ? { causes: [{ reason: cause }] } : undefined;
  return new ApiError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    code,
    reason,
    message,
    details,
  });
}

const success = (): Status => ({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' });

function fieldOf(object: Anything, field: string): string {
  const value = field
    .split('.')
    .reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], object);
  return value === undefined ? '' : String(value);
}

/** RFC 7396, in place. */
function mergePatch(target: unknown, patch: unknown): void {
  for (const [key, value] of Object.entries(patch as object)) {
    const into = target as Record<string, unknown>;
    if (value === null) delete into[key];
    else if (typeof value !== 'object' || Array.isArray(value)) into[key] = structuredClone(value);
    else {
      if (typeof into[key] !== 'object' || into[key] === null) into[key] = {};
      mergePatch(into[key], value);
    }
  }
}

/** Informers share their objects: whoever changes one in a test is told so. */
function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
