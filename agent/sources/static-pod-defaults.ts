import type { Pod, Probe } from '../../src/kube/types.ts';
import { defaultPullPolicy, withDefaultTag } from '../images/name.ts';

/** The API's defaults, as far as the agent reads them; for pods that never pass an API server. */
export function applyStaticPodDefaults(pod: Pod): void {
  const { spec } = pod;
  spec.restartPolicy ??= 'Always';
  spec.terminationGracePeriodSeconds ??= 30;
  spec.dnsPolicy ??= 'ClusterFirst';
  spec.enableServiceLinks ??= true;
  spec.securityContext ??= {};
  spec.schedulerName ??= 'default-scheduler';
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
