import { existsSync } from 'node:fs';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import type { Settings } from '../settings.ts';

/** A client with the admin's kubeconfig; undefined while that is not written yet. */
export function adminClient(settings: Settings): KubeClient | undefined {
  if (!existsSync(settings.kubeconfig)) return undefined;
  return createKubeClient(loadKubeconfig(settings.kubeconfig, { userAgent: 'berth' }));
}
