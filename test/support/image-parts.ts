import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { AGENT_DEFAULTS } from '../../agent/agent-options.ts';
import { buildImageParts, type ImagePartDependencies, type ImageSettings } from '../../agent/images/image-parts.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import type { BackoffOptions } from '../../src/runtime/backoff.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeDocker } from '../fakes/docker.ts';

/** The Secret of `kubectl create secret docker-registry`, for these registries. */
export function pullSecret(name: string, auths: Record<string, object>, namespace = 'default') {
  return {
    type: 'kubernetes.io/dockerconfigjson',
    metadata: { name, namespace, uid: `uid-${namespace}-${name}` },
    data: { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') },
  };
}

/** All parts of images over an Engine in memory, with a clock of the test's. */
export async function startImageParts(
  t: ExecutionContext,
  settings: Partial<ImageSettings> & { backoff?: BackoffOptions } = {},
  more: Partial<ImagePartDependencies> = {},
) {
  const rootDir = await mkdtemp(join(tmpdir(), 'berth-images-'));
  t.teardown(() => rm(rootDir, { recursive: true }));
  const docker = createFakeDocker();
  const clock = createFakeClock();
  const registry = new Registry();
  const events: string[] = [];
  /** By `namespace/name`. */
  const secrets = new Map<string, ReturnType<typeof pullSecret>>();
  const operations: string[] = [];
  const parts = buildImageParts(
    {
      ...AGENT_DEFAULTS.images,
      pullsPerSecond: 0,
      homeDir: rootDir,
      backoff: { initialMs: 10_000, maxMs: 300_000 },
      ...settings,
      rootDir,
    },
    {
      docker,
      config: {
        configMap: async () => undefined,
        secret: async (namespace, name) => secrets.get(`${namespace}/${name}`),
      },
      events: {
        event: (pod, type, reason, message, path) =>
          events.push(`${pod.metadata.namespace} ${type} ${reason} ${message}${path ? ` ${path}` : ''}`),
      },
      metrics: {
        runtimeOperation(operation, call) {
          operations.push(operation);
          return call();
        },
        imagePulled() {},
      },
      registry,
      clock,
      log: silentLogger,
      ...more,
    },
  );
  return {
    ...parts,
    docker,
    clock,
    events,
    secrets,
    operations,
    rootDir,
    /** The sum of a metric's values over these labels; of a histogram the count. */
    async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
      const found = await registry.getSingleMetric(name)!.get();
      const values = found.values as {
        value: number;
        metricName?: string;
        labels: Record<string, string | number | undefined>;
      }[];
      return values
        .filter(({ metricName }) => metricName === undefined || metricName === name || metricName === `${name}_count`)
        .filter((one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value))
        .reduce((sum, { value }) => sum + value, 0);
    },
    ensure(pod: Pod, container: Partial<Container> = {}, signal = new AbortController().signal) {
      return parts.images.ensure(pod, { ...pod.spec.containers[0]!, ...container }, signal);
    },
  };
}
