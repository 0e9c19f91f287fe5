/** Of this checkout; also the suffix of the Kubernetes version that it speaks. */
export const BERTH_VERSION = '0.1.0';

/** The Kubernetes release whose behaviour Berth follows. */
export const KUBERNETES_VERSION = `v1.36.0+berth.${BERTH_VERSION}`;
