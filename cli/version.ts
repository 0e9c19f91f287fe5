import type { BuildInfo } from '../src/runtime/metrics.ts';

/** Of this checkout; also the suffix of the Kubernetes version that it speaks. */
export const BERTH_VERSION = '0.1.0';

/** The Kubernetes release whose behaviour Berth follows. */
export const KUBERNETES_VERSION = `v1.36.0+berth.${BERTH_VERSION}`;

/** What /version and kubernetes_build_info tell of this program. */
export function buildInfo(): BuildInfo {
  const [major = '', minor = ''] = KUBERNETES_VERSION.slice(1).split('.');
  return {
    major,
    minor,
    gitVersion: KUBERNETES_VERSION,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: `node ${process.version}`,
    compiler: 'v8',
    platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
  };
}
