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

/** Sheet §9. Throws when the name does not fit the kernel. */
export function computeHostname(pod: Pod, options: { nodeHostname: string; clusterDomain: string }): PodHostname {
  const { spec, metadata } = pod;
  if (spec.hostnameOverride)
    return { hostname: spec.hostnameOverride, fqdn: undefined, kernelHostname: spec.hostnameOverride };
  if (spec.hostNetwork)
    return { hostname: options.nodeHostname, fqdn: undefined, kernelHostname: options.nodeHostname };
  const hostname = spec.hostname || metadata.name.slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '');
  const fqdn = spec.subdomain
    ? `${hostname}.${spec.subdomain}.${metadata.namespace}.svc.${options.clusterDomain}`
    : undefined;
  const kernelHostname = spec.setHostnameAsFQDN && fqdn ? fqdn : hostname;
  if (kernelHostname.length > MAX_KERNEL_HOSTNAME)
    throw new Error(
      `failed to construct FQDN from pod hostname and cluster domain, FQDN ${kernelHostname} is too long (${MAX_KERNEL_HOSTNAME} characters is the max, ${kernelHostname.length} characters requested)`,
    );
  return { hostname, fqdn, kernelHostname };
}
