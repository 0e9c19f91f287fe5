const NAME = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const PREFIX = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** What quotas put before the name. */
const QUOTA_PREFIX = 'requests.';

/** Whether a device plugin may bring this resource: `vendor.com/gpu`, with a prefix that is not Kubernetes' own. */
export function isExtendedResourceName(name: string): boolean {
  const [prefix, local, ...rest] = name.split('/');
  if (prefix === undefined || local === undefined || rest.length > 0) return false;
  if (name.includes('kubernetes.io/') || name.startsWith(QUOTA_PREFIX)) return false;
  if (local.length > 63 || !NAME.test(local)) return false;
  // A quota's name of it has to be one too.
  return QUOTA_PREFIX.length + prefix.length <= 253 && PREFIX.test(prefix);
}
