/** The IPVS schedulers that kube-proxy takes; each is a kernel module of its own, `ip_vs_rr` and so on. */
export const SCHEDULERS = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'sh',
  'dh',
  'sed',
  'nq',
  'fo',
  'ovf',
  'mh',
] as const;
