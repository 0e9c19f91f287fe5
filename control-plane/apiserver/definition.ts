import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { KubeObject } from '../../src/kube/types.ts';
import type { UserInfo } from './authorization.ts';
import type { FieldError } from './field-error.ts';

/**
 * One entry of the declarative registry: everything the generic REST layer must know of a kind. The layer itself does
 * decoding, metadata, generation, deletion, concurrency, patches, watches, Tables and discovery; an entry only says
 * what differs between kinds.
 *
 *     create: decode → applyDefaults → metadata → prepareForCreate → (generation) → validate → begin → store
 *     update: decode → applyDefaults → metadata → prepareForUpdate → (generation) → validate + validateUpdate → begin → store
 *     delete: checkDelete → grace, finalizers → store → deleted
 */
export interface ResourceDefinition<T extends KubeObject = KubeObject> {
  /** '' for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Lower case, as in the path: `endpointslices`. */
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly Verb[];

  /** Why a name is not acceptable (empty: it is); one of `names.ts`. `prefix` is true for a generateName. */
  validateName(name: string, prefix: boolean): string[];
  /** Fills defaults in place. Also called after a patch and on reads of old data, so it must be idempotent. */
  applyDefaults(object: T): void;
  /** Drops or fixes what clients don't own (a status on create). Throws a `StatusError` to refuse. */
  prepareForCreate(object: T, context: StrategyContext): void | Promise<void>;
  /** Restores from `old` what this endpoint must not change (the status). Throws a `StatusError` to refuse. */
  prepareForUpdate(object: T, old: T, context: StrategyContext): void | Promise<void>;
  /** Called on create and on update; metadata is validated by the generic layer. */
  validate(object: T): FieldError[];
  /** What an update may not do (immutable fields). */
  validateUpdate(object: T, old: T): FieldError[];
  /** Beyond metadata.name and metadata.namespace; the keys are the field labels that a fieldSelector may name. */
  readonly selectableFields: Readonly<Record<string, FieldGetter<T>>>;
  /** Columns of `kubectl get`. The first is the name. */
  readonly columns: readonly TableColumn<T>[];

  /** True when the kind has /status; it is then served by the generic layer with `status`'s rules. */
  readonly hasStatus: boolean;
  /** Rules of PUT and PATCH on /status. Spec, and metadata but for annotations, finalizers and labels, are restored before. */
  readonly status?: {
    prepareForUpdate?(object: T, old: T, context: StrategyContext): void | Promise<void>;
    validateUpdate?(object: T, old: T): FieldError[];
  };
  /** False: an update without metadata.resourceVersion is refused (leases). */
  readonly allowUnconditionalUpdate: boolean;
  /** True: a PUT to a name that does not exist creates it (leases, events, services …). */
  readonly allowCreateOnUpdate: boolean;
  /**
   * Present when the kind carries metadata.generation: 1 on create, +1 when this answers true. `specChanged` is the
   * usual one (Deployments also count annotations). Absent: the kind has no generation (ConfigMap, Secret, Service …).
   */
  generationChanged?(object: T, old: T): boolean;

  /** Throws a `StatusError` when the object may not be deleted (the default namespaces). */
  checkDelete?(object: T, context: StrategyContext): void;
  /** Grace of a DELETE, in seconds; only pods have one. Absent: 0. `requestedSeconds` is DeleteOptions.gracePeriodSeconds. */
  gracePeriodSeconds?(object: T, requestedSeconds: number | undefined): number;
  /** Called in place when deletionTimestamp is set for the first time (namespaces: status.phase Terminating). */
  markDeleted?(object: T): void;
  /** True while a deleted object must stay although metadata.finalizers is empty (namespaces: spec.finalizers). */
  isHeld?(object: T): boolean;
  /** propagationPolicy when the client sends none; Background unless said. */
  readonly defaultPropagationPolicy?: 'Background' | 'Orphan';

  /**
   * Takes what the write needs outside the object (cluster IPs, node ports) just before it is stored and may fill it in.
   * `old` is undefined on create. `finish(true)` follows when the write is stored, `finish(false)` when it was not:
   * release what was taken in vain, or, after success, what `old` held and `object` no longer does.
   */
  begin?(
    object: T,
    old: T | undefined,
    context: StrategyContext,
  ): undefined | WriteHold | Promise<WriteHold | undefined>;
  /** The object is gone from the store: release what it held. */
  deleted?(object: T): void;

  /** By the last path segment; /status is generic and does not stand here. */
  readonly subresources: Readonly<Record<string, SubresourceDefinition<T>>>;
  /** Kinds that are never stored (Binding, reviews): POST is answered by this instead of the store. */
  readonly virtual?: VirtualResource<T>;
  /** Kinds that are never stored but worked out (metrics): GET and LIST are answered by this instead of the store. */
  readonly computed?: ComputedResource<T>;
}

/** Declared as a method so that a definition of Pods is also one of KubeObjects (a registry holds many kinds). */
export type FieldGetter<T extends KubeObject> = { get(object: T): string }['get'];

export type Verb = 'create' | 'delete' | 'deletecollection' | 'get' | 'list' | 'patch' | 'update' | 'watch';

export const ALL_VERBS: readonly Verb[] = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
];

export interface WriteHold {
  finish(stored: boolean): void;
}

/** What a strategy may know and do beside changing the object that it was given. */
export interface StrategyContext {
  readonly user: UserInfo;
  readonly nowMs: number;
  /** Committed objects. They are shared and frozen by convention: never change them. */
  readonly objects: ObjectReader;
  /** Adds a `Warning: 299` header to the answer; kubectl prints it. */
  warn(text: string): void;
}

/** Names a stored kind: `{ group: '', plural: 'services' }`. A `ResourceDefinition` is one too. */
export interface ResourceName {
  readonly group: string;
  readonly plural: string;
}

export interface ObjectReader {
  /** `namespace` is '' for cluster-scoped kinds. */
  get<T extends KubeObject>(resource: ResourceName, namespace: string, name: string): Promise<T | undefined>;
  /** `namespace` undefined: of all namespaces. */
  list<T extends KubeObject>(resource: ResourceName, namespace?: string): Promise<T[]>;
}

export interface TableColumn<T extends KubeObject = KubeObject> {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  /** `name` for the name column. */
  readonly format?: string;
  readonly description: string;
  /** 0 is always shown, 1 only by `-o wide`. */
  readonly priority: 0 | 1;
  cell(object: T, nowMs: number): string | number | boolean | null;
}

export type SubresourceDefinition<T extends KubeObject = KubeObject> =
  | ObjectSubresource<T>
  | ProjectionSubresource<T>
  | CreateSubresource<T>
  | ConnectSubresource<T>;

/** A second door to the same object with other rules (namespaces/finalize, approval): GET, PUT, PATCH. */
export interface ObjectSubresource<T extends KubeObject = KubeObject> {
  readonly style: 'object';
  readonly verbs: readonly ('get' | 'update' | 'patch')[];
  /** Brings everything but this subresource's fields back to `old`. */
  prepareForUpdate(object: T, old: T, context: StrategyContext): void | Promise<void>;
  validateUpdate?(object: T, old: T): FieldError[];
}

/** The object seen as another kind (deployments/scale as autoscaling/v1 Scale): GET, PUT, PATCH. */
export interface ProjectionSubresource<T extends KubeObject = KubeObject> {
  readonly style: 'projection';
  readonly verbs: readonly ('get' | 'update' | 'patch')[];
  /** The kind that is shown and taken. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Carries the object's name, namespace, uid, resourceVersion and creationTimestamp. */
  project(object: T): KubeObject;
  /** What is wrong with a projection that a client sent (or that a patch made). */
  validate(projection: KubeObject): FieldError[];
  /**
   * Writes what the projection may change into `object` (a copy of the stored one); the generic layer then runs the
   * kind's own update path on it (generation, validateUpdate, resourceVersion of the projection's metadata).
   */
  apply(object: T, projection: KubeObject): void;
}

/** POST of another kind onto an object (pods/binding, serviceaccounts/token). */
export interface CreateSubresource<T extends KubeObject = KubeObject> {
  readonly style: 'create';
  /** The kind of the body. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** The answer is sent with 201. */
  create(request: CreateSubresourceRequest<T>): Promise<object>;
}

export interface CreateSubresourceRequest<T extends KubeObject = KubeObject> {
  readonly namespace: string;
  readonly name: string;
  /** The decoded body. */
  readonly body: KubeObject & Record<string, unknown>;
  readonly context: StrategyContext;
  /**
   * Reads, changes a copy and stores it, again on conflicts. Throws NotFound. Validation is not run: the change must
   * be right by itself.
   */
  modify(change: (object: T) => void): Promise<T>;
}

/** GET that is answered by a stream (pods/log). */
export interface ConnectSubresource<T extends KubeObject = KubeObject> {
  readonly style: 'connect';
  /** The kind of its options (`PodExecOptions`), for discovery; the object's own kind unless said. */
  readonly optionsKind?: string;
  /** The methods that reach it: exec and the like take POST too. */
  readonly verbs: readonly ('get' | 'create' | 'update' | 'patch' | 'delete')[];
  /** More of the path may follow (proxies). */
  readonly takesPath?: boolean;
  /** The object's name in a path that says more of it (`https:web:443`); the path's own unless given. Throws a `StatusError`. */
  objectName?(name: string): string;
  connect(request: ConnectSubresourceRequest<T>): Promise<void>;
}

export interface ConnectSubresourceRequest<T extends KubeObject = KubeObject> {
  readonly object: T;
  /** As the path has it. */
  readonly name: string;
  /** What follows the subresource in the path, as it was sent: '' or '/stats/summary'. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly context: StrategyContext;
  readonly request: IncomingMessage | Http2ServerRequest;
  /** Nothing is written yet: a thrown `StatusError` still becomes the answer. */
  readonly response: ServerResponse | Http2ServerResponse;
  /** The connection, when the client asks for another protocol on it; `head` came behind the request. */
  readonly upgrade?: { readonly socket: Duplex; readonly head: Buffer };
  /** Aborts when the client leaves or the server stops. */
  readonly signal: AbortSignal;
}

/** Objects without resourceVersion; methods, so that a definition of one kind is also one of KubeObjects. */
export interface ComputedResource<T extends KubeObject = KubeObject> {
  /** `namespace` is '' for cluster-scoped kinds. */
  get(namespace: string, name: string, nowMs: number): Promise<T | undefined>;
  /** `namespace` undefined: of all namespaces. */
  list(namespace: string | undefined, nowMs: number): Promise<T[]>;
}

export interface VirtualResource<T extends KubeObject = KubeObject> {
  /** The answer is sent with 201. */
  create(request: VirtualRequest<T>): Promise<object>;
}

export interface VirtualRequest<T extends KubeObject = KubeObject> {
  readonly object: T;
  /** The path's; '' for cluster-scoped kinds. */
  readonly namespace: string;
  readonly context: StrategyContext;
  /** Changes a stored object of the namespace, as `CreateSubresourceRequest.modify` does. */
  modify<S extends KubeObject>(resource: ResourceName, name: string, change: (object: S) => void): Promise<S>;
}
