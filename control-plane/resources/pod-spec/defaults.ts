import { canonicalQuantity, formatQuantity, parseQuantity, quantityOf } from '../../../src/kube/quantity.ts';
import type {
  Container,
  HTTPGetAction,
  LifecycleHandler,
  PersistentVolumeClaimSpec,
  Pod,
  PodSpec,
  Probe,
  ResourceRequirements,
  Volume,
  VolumeProjection,
} from '../../../src/kube/types.ts';

/** Defaults of pods and pod templates (sheet §9). Everything here is idempotent. */

const FILE_MODE = 0o644;
const TOKEN_EXPIRATION_SECONDS = 3600;

/** What pods and templates share. Throws QuantityError. */
export function applyPodSpecDefaults(spec: PodSpec): void {
  spec.containers ??= [];
  for (const container of spec.containers) applyContainerDefaults(container);
  for (const container of spec.initContainers ?? []) applyContainerDefaults(container);
  for (const container of spec.ephemeralContainers ?? []) applyContainerDefaults(container);
  for (const volume of spec.volumes ?? []) applyVolumeDefaults(volume);
  spec.restartPolicy ||= 'Always';
  spec.terminationGracePeriodSeconds ??= 30;
  spec.dnsPolicy ||= 'ClusterFirst';
  // The deprecated twin is always served along.
  spec.serviceAccountName ||= spec.serviceAccount;
  if (spec.serviceAccountName) spec.serviceAccount = spec.serviceAccountName;
  else {
    delete spec.serviceAccountName;
    delete spec.serviceAccount;
  }
  spec.securityContext ??= {};
  spec.schedulerName ||= 'default-scheduler';
  if (spec.overhead) canonicalizeResourceList(spec.overhead);
  if (spec.resources) canonicalizeResources(spec.resources);
}

/** What only real pods get, not templates. */
export function applyPodDefaults(pod: Pod): void {
  pod.spec ??= { containers: [] };
  applyPodSpecDefaults(pod.spec);
  const { spec } = pod;
  spec.enableServiceLinks ??= true;
  for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) requestsFromLimits(container);
  if (spec.hostNetwork) {
    for (const container of [...spec.containers, ...(spec.initContainers ?? [])])
      for (const port of container.ports ?? []) port.hostPort ||= port.containerPort;
  }
}

function requestsFromLimits(container: Container): void {
  const limits = container.resources?.limits;
  if (!limits || Object.keys(limits).length === 0) return;
  container.resources!.requests = { ...limits, ...container.resources!.requests };
}

type AnyContainer = Pick<
  Container,
  | 'image'
  | 'imagePullPolicy'
  | 'terminationMessagePath'
  | 'terminationMessagePolicy'
  | 'ports'
  | 'env'
  | 'resources'
  | 'livenessProbe'
  | 'readinessProbe'
  | 'startupProbe'
  | 'lifecycle'
>;

function applyContainerDefaults(container: AnyContainer): void {
  container.imagePullPolicy ||= pullPolicyOf(container.image);
  container.terminationMessagePath ||= '/dev/termination-log';
  container.terminationMessagePolicy ||= 'File';
  container.resources ??= {};
  canonicalizeResources(container.resources);
  for (const port of container.ports ?? []) port.protocol ||= 'TCP';
  for (const variable of container.env ?? []) {
    const { fieldRef, resourceFieldRef } = variable.valueFrom ?? {};
    if (fieldRef) fieldRef.apiVersion ||= 'v1';
    if (resourceFieldRef) resourceFieldRef.divisor = canonicalQuantity(resourceFieldRef.divisor ?? '0');
  }
  applyProbeDefaults(container.livenessProbe);
  applyProbeDefaults(container.readinessProbe);
  applyProbeDefaults(container.startupProbe);
  applyHandlerDefaults(container.lifecycle?.postStart);
  applyHandlerDefaults(container.lifecycle?.preStop);
}

/** `latest`, said (beside a digest, too) or implied, is pulled always; a digest or another tag only when absent. */
function pullPolicyOf(image: string | undefined): 'Always' | 'IfNotPresent' {
  const [name = '', digest] = (image ?? '').split('@', 2);
  const lastSegment = name.slice(name.lastIndexOf('/') + 1);
  const colon = lastSegment.indexOf(':');
  if (colon >= 0) return lastSegment.slice(colon + 1) === 'latest' ? 'Always' : 'IfNotPresent';
  return name === '' || digest !== undefined ? 'IfNotPresent' : 'Always';
}

function applyProbeDefaults(probe: Probe | undefined): void {
  if (!probe) return;
  probe.timeoutSeconds ||= 1;
  probe.periodSeconds ||= 10;
  probe.successThreshold ||= 1;
  probe.failureThreshold ||= 3;
  applyHttpDefaults(probe.httpGet);
  if (probe.grpc) probe.grpc.service ??= '';
}

function applyHandlerDefaults(handler: LifecycleHandler | undefined): void {
  applyHttpDefaults(handler?.httpGet);
}

function applyHttpDefaults(action: HTTPGetAction | undefined): void {
  if (!action) return;
  action.path ||= '/';
  action.scheme ||= 'HTTP';
}

function applyVolumeDefaults(volume: Volume): void {
  const sources = Object.entries(volume).filter(
    ([key, source]) => key !== 'name' && source !== undefined && source !== null,
  );
  if (sources.length === 0) volume.emptyDir = {};
  if (volume.emptyDir?.sizeLimit !== undefined)
    volume.emptyDir.sizeLimit = canonicalQuantity(volume.emptyDir.sizeLimit);
  if (volume.secret) volume.secret.defaultMode ??= FILE_MODE;
  if (volume.configMap) volume.configMap.defaultMode ??= FILE_MODE;
  if (volume.downwardAPI) {
    volume.downwardAPI.defaultMode ??= FILE_MODE;
    applyDownwardDefaults(volume.downwardAPI.items);
  }
  if (volume.projected) {
    volume.projected.defaultMode ??= FILE_MODE;
    for (const source of volume.projected.sources ?? []) applyProjectionDefaults(source);
  }
  if (volume.hostPath) volume.hostPath.type ??= '';
  if (volume.image) volume.image.pullPolicy ||= pullPolicyOf(volume.image.reference);
  if (volume.iscsi) volume.iscsi.iscsiInterface ||= 'default';
  if (volume.ephemeral?.volumeClaimTemplate?.spec) applyClaimSpecDefaults(volume.ephemeral.volumeClaimTemplate.spec);
}

/** Of a PersistentVolumeClaim, and of the template in a generic ephemeral volume. */
export function applyClaimSpecDefaults(spec: PersistentVolumeClaimSpec): void {
  spec.volumeMode ??= 'Filesystem';
  if (spec.resources?.requests) canonicalizeResourceList(spec.resources.requests);
  if (spec.resources?.limits) canonicalizeResourceList(spec.resources.limits);
}

function applyProjectionDefaults(source: VolumeProjection): void {
  if (source.serviceAccountToken) source.serviceAccountToken.expirationSeconds ??= TOKEN_EXPIRATION_SECONDS;
  applyDownwardDefaults(source.downwardAPI?.items);
}

function applyDownwardDefaults(items: NonNullable<Volume['downwardAPI']>['items']): void {
  for (const item of items ?? []) {
    if (item.fieldRef) item.fieldRef.apiVersion ||= 'v1';
    if (item.resourceFieldRef) item.resourceFieldRef.divisor = canonicalQuantity(item.resourceFieldRef.divisor ?? '0');
  }
}

function canonicalizeResources(resources: ResourceRequirements): void {
  if (resources.limits) canonicalizeResourceList(resources.limits);
  if (resources.requests) canonicalizeResourceList(resources.requests);
}

/** Rounds up to thousandths and writes each quantity in its canonical form. Throws QuantityError. */
export function canonicalizeResourceList(list: Record<string, string>): void {
  for (const [name, text] of Object.entries(list)) {
    const { milli, format } = parseQuantity(text);
    list[name] = formatQuantity(quantityOf(milli * 1_000_000n, format));
  }
}
