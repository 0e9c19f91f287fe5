import type { Pod } from '../../src/kube/types.ts';

const MAX_HOSTNAME = 63;
/** Linux's limit for the kernel's host name. */
const MAX_KERNEL_HOSTNAME = 64;

export interface PodHostname {
  /** Short name, the last column of the hosts file. */
  hostname: string;
  /** `<hostname>.<subdomain>.<ns>.svc.<domain>` when the pod has a subdomain. */
  fqdn: string | undefined;
  /** What `hostname` prints in the containers. */
  kernelHostname: string;
}

export interface HostnameOptions {
  nodeHostname: string;
  clusterDomain: string;
}

/** Sheet §9. Whether the kernel takes it is another matter: `requireUsableHostname`. */
export function computeHostname(pod: Pod, options: HostnameOptions): PodHostname {
  const { spec, metadata } = pod;
  if (spec.hostnameOverride)
    return { hostname: spec.hostnameOverride, fqdn: undefined, kernelHostname: spec.hostnameOverride };
  if (spec.hostNetwork)
    return { hostname: options.nodeHostname, fqdn: undefined, kernelHostname: options.nodeHostname };
  const hostname = spec.hostname || metadata.name.slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '');
  const fqdn = spec.subdomain
    ? `${hostname}.${spec.subdomain}.${metadata.namespace}.svc.${options.clusterDomain}`
    : undefined;
  return { hostname, fqdn, kernelHostname: spec.setHostnameAsFQDN && fqdn ? fqdn : hostname };
}

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** Throws when a name of the pod is no DNS label or does not fit the kernel: its sandbox cannot be made. */
export function requireUsableHostname(pod: Pod, options: HostnameOptions): void {
  for (const field of ['hostname', 'subdomain'] as const) {
    const value = pod.spec[field];
    if (value && !DNS_LABEL.test(value))
      throw new Error(`pod spec.${field} ${JSON.stringify(value)} is not a valid DNS label`);
  }
  const { kernelHostname } = computeHostname(pod, options);
  if (kernelHostname.length > MAX_KERNEL_HOSTNAME)
    throw new Error(
      `failed to construct FQDN from pod hostname and cluster domain, FQDN ${kernelHostname} is too long (${MAX_KERNEL_HOSTNAME} characters is the max, ${kernelHostname.length} characters requested)`,
    );
}
