import { createHash } from 'node:crypto';
import type { Container, Pod, Probe } from '../../src/kube/types.ts';
import { defaultPullPolicy, withDefaultTag } from '../images/name.ts';
import { ANNOTATION } from '../pods/annotations.ts';

export interface StaticPodContext {
  nodeName: string;
  /** `file:/etc/kubernetes/manifests/web.yaml` */
  origin: string;
  nowMs: number;
}

/** A manifest that cannot be run; the message names the field. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

const NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
const LABEL_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

type Tree = Record<string, unknown>;

const isObject = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * A parsed manifest as a pod of this node: checked, defaulted, with the stable UID that its content and place give it
 * (sheet §2). The same text at the same place is the same pod; any change makes another one.
 */
export function buildStaticPod(manifest: unknown, context: StaticPodContext): Pod {
  if (!isObject(manifest)) throw new ManifestError('expected a Pod object');
  if (manifest.kind !== 'Pod' || manifest.apiVersion !== 'v1')
    throw new ManifestError(
      `expected apiVersion v1, kind Pod, found apiVersion ${manifest.apiVersion ?? '(none)'}, kind ${manifest.kind ?? '(none)'}`,
    );
  if (!isObject(manifest.metadata)) throw new ManifestError('metadata: required');
  if (!isObject(manifest.spec)) throw new ManifestError('spec: required');
  const pod = structuredClone(manifest) as unknown as Pod;
  checkPod(pod);
  const givenUid = pod.metadata.uid;
  const nodeName = context.nodeName.toLowerCase();
  const uid =
    givenUid ||
    createHash('md5')
      .update(`${nodeName}\0${context.origin}\0${JSON.stringify(manifest)}`)
      .digest('hex');
  pod.metadata = {
    ...pod.metadata,
    name: `${pod.metadata.name}-${nodeName}`,
    namespace: pod.metadata.namespace || 'default',
    uid,
    resourceVersion: '',
    creationTimestamp: new Date(context.nowMs).toISOString().replace(/\.\d+Z$/, 'Z'),
    annotations: {
      ...pod.metadata.annotations,
      [ANNOTATION.source]: 'file',
      [ANNOTATION.hash]: uid,
      [ANNOTATION.seen]: new Date(context.nowMs).toISOString(),
    },
  };
  applyPodDefaults(pod, context.nodeName);
  pod.status = { phase: 'Pending' };
  return pod;
}

function checkPod(pod: Pod): void {
  const { metadata, spec } = pod;
  const require = (ok: boolean, field: string, problem: string) => {
    if (!ok) throw new ManifestError(`${field}: ${problem}`);
  };
  require(typeof metadata.name === 'string' &&
    NAME.test(metadata.name), 'metadata.name', `${JSON.stringify(metadata.name)} is not a DNS subdomain name`);
  if (metadata.namespace)
    require(LABEL_NAME.test(
      metadata.namespace,
    ), 'metadata.namespace', `${JSON.stringify(metadata.namespace)} is not a DNS label`);
  require(Array.isArray(spec.containers) && spec.containers.length > 0, 'spec.containers', 'at least one is required');
  const names = new Set<string>();
  for (const kind of ['initContainers', 'containers'] as const)
    for (const [index, container] of (spec[kind] ?? []).entries()) {
      const field = `spec.${kind}[${index}]`;
      require(isObject(container), field, 'expected an object');
      require(typeof container.name === 'string' &&
        LABEL_NAME.test(container.name), `${field}.name`, `${JSON.stringify(container.name)} is not a DNS label`);
      require(!names.has(container.name), `${field}.name`, `${container.name} is used twice`);
      names.add(container.name);
      require(typeof container.image === 'string' && container.image !== '', `${field}.image`, 'required');
      requireNoApiReferences(container, field);
    }
  // Static pods must not depend on the API server (rejected since 1.34).
  require(!spec.serviceAccountName, 'spec.serviceAccountName', 'a static pod may not use a service account');
  require(!spec.resourceClaims?.length, 'spec.resourceClaims', 'a static pod may not use resource claims');
  for (const [index, volume] of (spec.volumes ?? []).entries()) {
    const projected = volume.projected?.sources?.some((s) => s.configMap ?? s.secret ?? s.serviceAccountToken);
    const bad = volume.configMap ?? volume.secret ?? volume.persistentVolumeClaim ?? projected;
    require(!bad, `spec.volumes[${index}]`, 'a static pod may not refer to ConfigMaps, Secrets, claims or service account tokens');
  }
}

function requireNoApiReferences(container: Container, field: string): void {
  for (const [index, from] of (container.envFrom ?? []).entries())
    if (from.configMapRef ?? from.secretRef)
      throw new ManifestError(`${field}.envFrom[${index}]: a static pod may not refer to ConfigMaps or Secrets`);
  for (const { name, valueFrom } of container.env ?? [])
    if (valueFrom?.configMapKeyRef ?? valueFrom?.secretKeyRef)
      throw new ManifestError(`${field}.env ${name}: a static pod may not refer to ConfigMaps or Secrets`);
}

/** The API's defaults, as far as the agent reads them; for pods that never pass an API server. */
function applyPodDefaults(pod: Pod, nodeName: string): void {
  const { spec } = pod;
  spec.nodeName = nodeName;
  spec.restartPolicy ??= 'Always';
  spec.terminationGracePeriodSeconds ??= 30;
  spec.dnsPolicy ??= 'ClusterFirst';
  spec.enableServiceLinks ??= true;
  spec.securityContext ??= {};
  spec.schedulerName ??= 'default-scheduler';
  spec.tolerations = [...(spec.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }];
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    container.imagePullPolicy ??= defaultPullPolicy(withDefaultTag(container.image!));
    container.terminationMessagePath ??= '/dev/termination-log';
    container.terminationMessagePolicy ??= 'File';
    container.resources ??= {};
    for (const port of container.ports ?? []) {
      port.protocol ??= 'TCP';
      if (spec.hostNetwork) port.hostPort ??= port.containerPort;
    }
    // A limit without a request is a request too.
    for (const [name, quantity] of Object.entries(container.resources.limits ?? {})) {
      container.resources.requests ??= {};
      container.resources.requests[name] ??= quantity;
    }
    for (const probe of [container.livenessProbe, container.readinessProbe, container.startupProbe])
      if (probe) applyProbeDefaults(probe);
  }
}

function applyProbeDefaults(probe: Probe): void {
  probe.timeoutSeconds ||= 1;
  probe.periodSeconds ||= 10;
  probe.successThreshold ||= 1;
  probe.failureThreshold ||= 3;
  if (probe.httpGet) {
    probe.httpGet.scheme ??= 'HTTP';
    probe.httpGet.path ||= '/';
  }
}
