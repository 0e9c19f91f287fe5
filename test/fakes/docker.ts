import { randomBytes } from 'node:crypto';
import type {
  ContainerConfig,
  ContainerDetail,
  ContainerEvent,
  DockerEngine,
  ExecResult,
  ImageDetail,
  PullOptions,
} from '../../src/docker/engine.ts';
import { DockerError } from '../../src/docker/errors.ts';

export interface FakeContainer {
  detail: ContainerDetail;
  config: ContainerConfig;
  log: { stream: 'stdout' | 'stderr'; data: Buffer }[];
}

export interface FakeDocker extends DockerEngine {
  containers: Map<string, FakeContainer>;
  /** The names of the calls made, in order: `create k8s_…`, `start …`. */
  calls: string[];
  /** `files`: path → text. */
  addImage(name: string, detail?: Partial<ImageDetail>, files?: Record<string, string>): void;
  /** Images that a pull finds. */
  registry: Set<string>;
  /** What happens in a pull before it finds the image or not: waits, progress, refusals of credentials. */
  onPull: (name: string, options: PullOptions, signal?: AbortSignal) => Promise<void>;
  /** What a container does when told to stop: exit code at once (0), or nothing until SIGKILL (`ignore`). */
  onStop: (container: FakeContainer) => number | 'ignore';
  /** The next call whose name starts so fails with this. */
  failNext(call: string, error: DockerError): void;
  /** A container's process ends by itself. */
  exit(id: string, exitCode: number, options?: { oomKilled?: boolean }): void;
  onExec: (id: string, command: string[], signal?: AbortSignal) => Promise<{ exitCode: number; output?: string }>;
  /** The Engine's connection breaks: event streams end. */
  dropConnections(): void;
  write(id: string, text: string, stream?: 'stdout' | 'stderr'): void;
}

/** A Docker Engine in memory that fails as the real one does; held to it by test/contract/docker. */
export function createFakeDocker(options: { nowMs?: () => number } = {}): FakeDocker {
  const nowMs = options.nowMs ?? Date.now;
  const containers = new Map<string, FakeContainer>();
  const images = new Map<string, ImageDetail>();
  const files = new Map<string, Record<string, string>>();
  const history: ContainerEvent[] = [];
  const listeners = new Set<(event: ContainerEvent | undefined) => void>();
  const failures: { call: string; error: DockerError }[] = [];
  const calls: string[] = [];
  const registry = new Set<string>();
  let nextPid = 1000;

  function called(operation: string): void {
    calls.push(operation);
    const index = failures.findIndex(({ call }) => operation.startsWith(call));
    if (index !== -1) throw failures.splice(index, 1)[0]!.error;
  }

  function find(operation: string, reference: string): FakeContainer {
    const byId = containers.get(reference);
    const found = byId ?? [...containers.values()].find(({ detail }) => detail.name === reference);
    if (!found) throw new DockerError(operation, 'notFound', `No such container: ${reference}`, 404);
    return found;
  }

  function findImage(reference: string): ImageDetail | undefined {
    const name = /[:@][^/]*$/.test(reference) ? reference : `${reference}:latest`;
    const all = [...images.values()];
    return images.get(name) ?? all.find(({ id, repoTags }) => id === reference || repoTags.includes(name));
  }

  /** As the Engine does: untags while there is another name; what a container is made of, or what has several names and is named by its id, stays. */
  function removeImage(reference: string): void {
    const operation = `remove image ${reference}`;
    const image = findImage(reference);
    if (!image) throw new DockerError(operation, 'notFound', `No such image: ${reference}`, 404);
    const refuse = (why: string) =>
      new DockerError(operation, 'conflict', `conflict: unable to delete ${image.id.slice(7, 19)} ${why}`, 409);
    const isById = image.id === reference;
    if (isById && image.repoTags.length > 1)
      throw refuse('(must be forced) - image is referenced in multiple repositories');
    const key = [...images].find(([, one]) => one === image)![0];
    if (!isById && image.repoTags.length > 1) {
      const repoTags = image.repoTags.filter((tag) => tag !== reference);
      images.delete(key);
      images.set(repoTags[0]!, { ...image, repoTags });
      return;
    }
    const user = [...containers.values()].find(({ detail }) => detail.imageId === image.id);
    if (user) throw refuse(`(must be forced) - image is being used by container ${user.detail.id.slice(0, 12)}`);
    images.delete(key);
  }

  function emit(action: string, { detail }: FakeContainer, extra: Record<string, string> = {}): void {
    const attributes = { ...detail.labels, name: detail.name, image: detail.image, ...extra };
    const event = { action, id: detail.id, attributes, timeNano: BigInt(Math.round(nowMs() * 1000)) * 1000n };
    history.push(event);
    // The Engine remembers so many.
    if (history.length > 256) history.shift();
    for (const listener of listeners) listener(event);
  }

  function end(container: FakeContainer, exitCode: number, oomKilled = false): void {
    const { detail } = container;
    if (detail.state !== 'running') return;
    Object.assign(detail, { state: 'exited', pid: undefined, exitCode, oomKilled, finishedAtMs: nowMs() });
    if (oomKilled) emit('oom', container);
    emit('die', container, { exitCode: String(exitCode) });
  }

  const fake: FakeDocker = {
    containers,
    calls,
    registry,
    onPull: async () => {},
    onStop: () => 0,
    onExec: async () => ({ exitCode: 0 }),
    addImage(name, detail = {}, itsFiles = {}) {
      images.set(name, {
        id: `sha256:${randomBytes(32).toString('hex')}`,
        repoTags: [name],
        repoDigests: [],
        sizeBytes: 1_000_000,
        user: '',
        workingDir: '',
        stopSignal: undefined,
        entrypoint: [],
        command: ['/bin/sh'],
        ...detail,
      });
      files.set(images.get(name)!.id, itsFiles);
    },
    failNext: (call, error) => failures.push({ call, error }),
    exit: (id, exitCode, { oomKilled = false } = {}) => end(find('exit', id), exitCode, oomKilled),
    dropConnections() {
      for (const listener of listeners) listener(undefined);
    },
    write(id, text, stream = 'stdout') {
      find('write', id).log.push({ stream, data: Buffer.from(text) });
    },

    async info() {
      called('info');
      return {
        name: 'fake',
        serverVersion: '20.10.24',
        cgroupDriver: 'cgroupfs',
        cgroupVersion: '1',
        dockerRootDir: '/var/lib/docker',
        securityOptions: ['name=seccomp,profile=default'],
        loggingDriver: 'json-file',
        runtimes: ['runc'],
        defaultRuntime: 'runc',
        storageDriver: 'overlay2',
        liveRestore: true,
        cdiSpecDirs: [],
      };
    },
    async ping() {
      called('ping');
    },
    async version() {
      called('version');
      return { version: '20.10.24', apiVersion: '1.41', minApiVersion: '1.12', components: { runc: '1.1.5' } };
    },
    async createContainer(name, config) {
      const operation = `create container ${name}`;
      called(`create ${name}`);
      if (!findImage(config.Image)) throw new DockerError(operation, 'notFound', `No such image: ${config.Image}`, 404);
      const taken = [...containers.values()].find(({ detail }) => detail.name === name);
      if (taken)
        throw new DockerError(
          operation,
          'conflict',
          `Conflict. The container name "/${name}" is already in use by container "${taken.detail.id}". You have to remove (or rename) that container to be able to reuse that name.`,
          409,
        );
      const id = randomBytes(32).toString('hex');
      const container: FakeContainer = {
        config: structuredClone(config),
        log: [],
        detail: {
          id,
          name,
          image: config.Image,
          imageId: findImage(config.Image)!.id,
          labels: { ...config.Labels },
          state: 'created',
          pid: undefined,
          createdAtMs: nowMs(),
          startedAtMs: undefined,
          finishedAtMs: undefined,
          exitCode: undefined,
          oomKilled: false,
          error: '',
          mounts: (config.HostConfig?.Mounts ?? []).map(({ Source, Target }) => ({
            source: Source,
            destination: Target,
          })),
          tty: config.Tty ?? false,
          logPath: `/var/lib/docker/containers/${id}/${id}-json.log`,
          networkMode: config.HostConfig?.NetworkMode ?? 'default',
          memoryBytes: config.HostConfig?.Memory ?? 0,
        },
      };
      containers.set(id, container);
      emit('create', container);
      return { id };
    },
    async startContainer(id) {
      called(`start ${id}`);
      const container = find(`start container ${id}`, id);
      if (container.detail.state === 'running') return;
      Object.assign(container.detail, {
        state: 'running',
        pid: nextPid++,
        startedAtMs: nowMs(),
        finishedAtMs: undefined,
        exitCode: undefined,
      });
      emit('start', container);
    },
    async stopContainer(id, graceSeconds, signal) {
      called(`stop ${id} ${graceSeconds}`);
      const container = find(`stop container ${id}`, id);
      if (container.detail.state !== 'running') return;
      signal?.throwIfAborted();
      const exitCode = fake.onStop(container);
      end(container, exitCode === 'ignore' ? 137 : exitCode);
    },
    async killContainer(id, signalName) {
      called(`kill ${id} ${signalName}`);
      const container = find(`kill container ${id}`, id);
      if (container.detail.state !== 'running')
        throw new DockerError(
          `kill container ${id}`,
          'conflict',
          `Container ${container.detail.id} is not running`,
          409,
        );
      end(container, signalName === 'SIGKILL' ? 137 : 143);
    },
    async removeContainer(id, { force = false } = {}) {
      called(`remove ${id}`);
      const container = find(`remove container ${id}`, id);
      if (container.detail.state === 'running') {
        if (!force)
          throw new DockerError(`remove container ${id}`, 'conflict', 'You cannot remove a running container', 409);
        end(container, 137);
      }
      containers.delete(container.detail.id);
      emit('destroy', container);
    },
    async inspectContainer(id) {
      called(`inspect ${id}`);
      return structuredClone(find(`inspect container ${id}`, id).detail);
    },
    async listContainers({ labels = [] }) {
      called('list');
      const wanted = labels.map((label) => label.split('=', 2) as [string, string | undefined]);
      return [...containers.values()]
        .filter(({ detail }) =>
          wanted.every(([key, value]) => (value === undefined ? key in detail.labels : detail.labels[key] === value)),
        )
        .map(({ detail: { id, name, image, imageId, labels: own, state, createdAtMs, networkMode } }) => ({
          id,
          name,
          image,
          imageId,
          labels: { ...own },
          state,
          createdAtMs: Math.floor(createdAtMs / 1000) * 1000,
          networkMode,
        }));
    },
    async updateContainer(id, resources) {
      called(`update ${id}`);
      const container = find(`update container ${id}`, id);
      container.config.HostConfig = { ...container.config.HostConfig, ...resources };
    },
    async waitContainer(id, signal) {
      called(`wait ${id}`);
      const container = find(`wait for container ${id}`, id);
      if (container.detail.state !== 'running') return { exitCode: container.detail.exitCode ?? 0 };
      for await (const event of fake.containerEvents({}, signal ?? new AbortController().signal))
        if (event.id === container.detail.id && event.action === 'die') break;
      return { exitCode: container.detail.exitCode ?? 0 };
    },
    async *containerLogs(id, { tail }) {
      called(`logs ${id}`);
      const { log } = find(`read logs of container ${id}`, id);
      yield* tail === undefined ? log : log.slice(-tail);
    },
    async *exportContainer(id) {
      called(`export ${find('export', id).detail.name}`);
      // Its files are not kept: an empty archive.
      yield Buffer.alloc(1024);
    },
    async readContainerFile(id, path) {
      called(`read ${id}`);
      const text = files.get(find(`read ${path} of container ${id}`, id).detail.imageId)?.[path];
      return text === undefined ? undefined : Buffer.from(text);
    },
    async execInContainer(id, command, { maxOutputBytes = 10_240 } = {}, signal) {
      called(`exec ${id}`);
      const container = find(`exec in container ${id}`, id);
      if (container.detail.state !== 'running')
        throw new DockerError(`exec in container ${id}`, 'conflict', `Container ${id} is not running`, 409);
      const aborted = new Promise<never>((_, reject) =>
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true }),
      );
      const work = fake.onExec(id, command, signal);
      const { exitCode, output = '' } = await (signal ? Promise.race([work, aborted]) : work);
      return { exitCode, output: Buffer.from(output).subarray(0, maxOutputBytes) } satisfies ExecResult;
    },

    async inspectImage(name) {
      called(`inspect-image ${name}`);
      const image = findImage(name);
      if (!image) throw new DockerError(`inspect image ${name}`, 'notFound', `No such image: ${name}`, 404);
      return structuredClone(image);
    },
    async listImages() {
      called('list-images');
      return [...images.values()].map(({ id, repoTags, repoDigests, sizeBytes }) => ({
        id,
        repoTags,
        repoDigests,
        sizeBytes,
        createdAtMs: 0,
      }));
    },
    async pullImage(name, options = {}, signal) {
      called(`pull ${name}`);
      signal?.throwIfAborted();
      await fake.onPull(name, options, signal);
      signal?.throwIfAborted();
      if (!registry.has(name))
        throw new DockerError(
          `pull image ${name}`,
          'notFound',
          `manifest for ${name} not found: manifest unknown`,
          404,
        );
      if (!images.has(name)) fake.addImage(name);
    },
    async removeImage(name) {
      called(`remove-image ${name}`);
      removeImage(name);
    },

    async *containerEvents({ sinceNano, labels = [], actions, onOpen }, signal) {
      called('events');
      const queue: (ContainerEvent | undefined)[] =
        sinceNano === undefined ? [] : history.filter(({ timeNano }) => timeNano >= sinceNano);
      let wake = () => {};
      const listener = (event: ContainerEvent | undefined) => {
        queue.push(event);
        wake();
      };
      const abort = () => wake();
      listeners.add(listener);
      signal.addEventListener('abort', abort, { once: true });
      try {
        onOpen?.();
        while (!signal.aborted) {
          while (queue.length > 0) {
            const event = queue.shift();
            if (!event) throw new DockerError('follow events', 'unreachable', 'connection closed');
            const matches = labels.every((label) => {
              const [key, value] = label.split('=', 2) as [string, string | undefined];
              return value === undefined ? key in event.attributes : event.attributes[key] === value;
            });
            if (matches && (actions?.includes(event.action) ?? true)) yield event;
          }
          if (signal.aborted) break;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        signal.throwIfAborted();
      } finally {
        listeners.delete(listener);
        signal.removeEventListener('abort', abort);
      }
    },
    close() {},
  };
  return fake;
}
