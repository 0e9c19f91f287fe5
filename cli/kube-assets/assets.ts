import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** The programs of a real Kubernetes control plane, as files of one folder (as KUBEBUILDER_ASSETS has them). */
export const ASSET_PROGRAMS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;

/** What benches and tests with --full measure Berth against; built only on request (`berth kube-assets --peers`). */
export const PEER_PROGRAMS = ['kube-proxy'] as const;

/** Where `berth kube-assets` puts what it built; it outlives the checkout, because building takes minutes. */
export function assetsCache(env: NodeJS.ProcessEnv): string {
  return join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'berth/kube');
}

/**
 * The folder with the programs: BERTH_KUBE_ASSETS where it is set (any version), else the cache. `skip` says what is missing and how to get it;
 * a BERTH_KUBE_ASSETS that lacks a program is never replaced by the cache in silence.
 */
export function findKubeAssets(env: NodeJS.ProcessEnv): { folder: string } | { skip: string } {
  const named = env['BERTH_KUBE_ASSETS'];
  const folder = named || assetsCache(env);
  const missing = ASSET_PROGRAMS.filter((program) => !isExecutable(join(folder, program)));
  if (missing.length === 0) return { folder };
  if (named) return { skip: `BERTH_KUBE_ASSETS has no ${missing.join(', ')}` };
  return { skip: "no real Kubernetes here: 'berth kube-assets' builds it, or set BERTH_KUBE_ASSETS" };
}

/** The path of one peer program, looked for where the control plane's programs are; `skip` says how to get it. */
export function findPeerProgram(
  program: (typeof PEER_PROGRAMS)[number],
  env: NodeJS.ProcessEnv,
): { path: string } | { skip: string } {
  const path = join(env['BERTH_KUBE_ASSETS'] || assetsCache(env), program);
  return isExecutable(path)
    ? { path }
    : { skip: `no ${program} in ${dirname(path)}: 'berth kube-assets --peers' builds it` };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
