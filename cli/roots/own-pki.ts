import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { addressAt, cidrsOf } from '../cluster/addresses.ts';
import { type ClusterPki, ensureClusterPki } from '../pki/cluster-pki.ts';
import { nodeIpsOf, pathsOf, type Settings } from '../settings.ts';
import { readPem } from './serving-certificate.ts';
import { settleConfig } from './settled-config.ts';

/** The certificates of the all-in-one program: those that are missing or due are made. */
export function ensureOwnPki(settings: Settings, nowMs: number): Promise<ClusterPki> {
  return ensureClusterPki({
    folder: pathsOf(settings).pki,
    nodeName: settings.nodeName,
    nodeIps: nodeIpsOf(settings),
    apiServerIps: ['127.0.0.1', settings.nodeIp, ...cidrsOf(settings.serviceCidr).map((cidr) => addressAt(cidr, 1))],
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

/** The node's part of it: the cluster's own certificate and authority, unless a KubeletConfiguration of the user names others. */
export function ownTrust(config: KubeletConfiguration, pki: ClusterPki) {
  const { tlsCertFile, tlsPrivateKeyFile } = config;
  const serving = tlsCertFile
    ? {
        certPem: readPem('tlsCertFile', tlsCertFile),
        keyPem: readPem('tlsPrivateKeyFile', tlsPrivateKeyFile),
        certFile: tlsCertFile,
        keyFile: tlsPrivateKeyFile,
      }
    : pki.nodeServing;
  const clientCAFile = config.authentication.x509.clientCAFile || pki.caFile;
  return {
    config: settleConfig(config, {
      tlsCertFile: serving.certFile,
      tlsPrivateKeyFile: serving.keyFile,
      clientCAFile,
    }),
    serving,
    clientCaPem: readPem('authentication.x509.clientCAFile', clientCAFile),
    clientCertPem: pki.node.certPem,
  };
}
