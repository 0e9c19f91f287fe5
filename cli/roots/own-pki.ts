import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { addressAt } from '../cluster/addresses.ts';
import { type ClusterPki, ensureClusterPki } from '../pki/cluster-pki.ts';
import { pathsOf, type Settings } from '../settings.ts';
import { settleConfig } from './settled-config.ts';

/** The certificates of the all-in-one program: those that are missing or due are made. */
export function ensureOwnPki(settings: Settings, nowMs: number): Promise<ClusterPki> {
  return ensureClusterPki({
    folder: pathsOf(settings).pki,
    nodeName: settings.nodeName,
    nodeIps: [settings.nodeIp],
    apiServerIps: ['127.0.0.1', settings.nodeIp, addressAt(settings.serviceCidr, 1)],
    apiServerNames: [
      'localhost',
      'kubernetes',
      'kubernetes.default',
      'kubernetes.default.svc',
      `kubernetes.default.svc.${settings.clusterDomain}`,
    ],
    nowMs,
  });
}

/** The node's part of it. Its certificates are the cluster's own, whatever a KubeletConfiguration of the user says of others. */
export function ownTrust(config: KubeletConfiguration, pki: ClusterPki) {
  const { certFile, keyFile } = pki.nodeServing;
  return {
    config: settleConfig(config, { tlsCertFile: certFile, tlsPrivateKeyFile: keyFile, clientCAFile: pki.caFile }),
    serving: pki.nodeServing,
    clientCaPem: pki.ca.certPem,
    clientCertPem: pki.node.certPem,
  };
}
