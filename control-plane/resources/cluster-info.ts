import { stringify } from 'yaml';
import { configMaps } from '../../src/kube/resources.ts';
import type { ConfigMap, Draft } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { ensureObject, keepEnsured, type OwnerClient } from './owned-objects.ts';

export const CLUSTER_INFO = 'cluster-info';
export const CLUSTER_INFO_NAMESPACE = 'kube-public';
/** As kubeadm calls it. */
const NODE_CONFIG = 'kubelet-config';
const NODE_CONFIG_NAMESPACE = 'kube-system';

export interface ClusterInfoOptions {
  /** Where other hosts reach the API server: `https://192.0.2.1:6443`. */
  server: string;
  caPem: string;
  /** What other nodes' KubeletConfiguration is to be, YAML, and what of the cluster they must know beside it. */
  nodeConfig: { kubelet: string; facts: Readonly<Record<string, string>> };
}

/**
 * What a host that wants to join must know, as kubeadm lays it out: kube-public/cluster-info (server and CA, for everybody, signed with each bootstrap token)
 * and kube-system/kubelet-config (for those who showed one).
 */
export function createClusterInfo(
  options: ClusterInfoOptions,
  dependencies: { client: OwnerClient; clock: Clock; log: Logger },
) {
  const { client, clock, log } = dependencies;
  const drafts = [clusterInfoDraft(options), nodeConfigDraft(options)];

  async function ensure(signal?: AbortSignal): Promise<void> {
    for (const draft of drafts)
      await ensureObject(client, configMaps, draft, (object) => mendData(object, draft.data ?? {}), signal);
  }

  return {
    ensure,
    run: (signal: AbortSignal) =>
      keepEnsured(ensure, signal, { clock, log, problem: 'what joining hosts must know could not be kept' }),
  };
}

function clusterInfoDraft({ server, caPem }: ClusterInfoOptions): Draft<ConfigMap> {
  const kubeconfig = stringify({
    apiVersion: 'v1',
    clusters: [{ cluster: { 'certificate-authority-data': Buffer.from(caPem).toString('base64'), server }, name: '' }],
    contexts: null,
    'current-context': '',
    kind: 'Config',
    preferences: {},
    users: null,
  });
  return { metadata: { name: CLUSTER_INFO, namespace: CLUSTER_INFO_NAMESPACE }, data: { kubeconfig } };
}

function nodeConfigDraft({ nodeConfig }: ClusterInfoOptions): Draft<ConfigMap> {
  return {
    metadata: { name: NODE_CONFIG, namespace: NODE_CONFIG_NAMESPACE },
    data: { kubelet: nodeConfig.kubelet, ...nodeConfig.facts },
  };
}

/** Signatures and what administrators add stay. */
function mendData(object: ConfigMap, wanted: Record<string, string>): boolean {
  const differs = Object.entries(wanted).some(([key, value]) => object.data?.[key] !== value);
  if (differs) object.data = { ...object.data, ...wanted };
  return differs;
}
