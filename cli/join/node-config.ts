import { existsSync } from 'node:fs';
import { parse, parseDocument } from 'yaml';
import type { KubeClient } from '../../src/kube/client.ts';
import { isForbidden, isNotFound } from '../../src/kube/errors.ts';
import { configMaps } from '../../src/kube/resources.ts';
import { UserError } from '../output/failure.ts';

const NAMESPACE = 'kube-system';
const KUBELET_CONFIG = 'kubelet-config';
const KUBEADM_CONFIG = 'kubeadm-config';
/** Of Kubernetes 1: from 1.24 on kubelet-config is just that. */
const FIRST_MINOR_WITHOUT_VERSION = 24;
const WAY_OUT = 'use berth node --bootstrap-kubeconfig and say these things there';

/** What the cluster says its nodes are to be. */
export interface NodeConfig {
  /** A KubeletConfiguration, YAML. */
  kubelet: string;
  clusterCidr: string;
  serviceCidr: string;
  /** flannel's net-conf.json, where the ways between the nodes are other than plain routes. */
  netConf?: string;
  /** `none`: somebody else sees to them. */
  overlayBackend?: string;
  /** A cluster of Berth's own, which approves serving certificates by itself; else one of kubeadm's kind, where people do. */
  isBerth: boolean;
}

/**
 * Reads it with a bootstrap token, from where Berth or kubeadm put it: `kubelet-config` (before Kubernetes 1.24 with the version in its name) and, for the networks,
 * Berth's own keys beside it or kubeadm's ClusterConfiguration. Throws UserError where a cluster tells neither.
 */
export async function readNodeConfig(client: KubeClient): Promise<NodeConfig> {
  const found = await readKubeletConfig(client);
  const { kubelet, 'cluster-cidr': clusterCidr, 'service-cidr': serviceCidr } = found;
  const { 'net-conf.json': netConf, 'overlay-backend': overlayBackend } = found;
  if (!kubelet) throw new UserError(`${NAMESPACE}/${KUBELET_CONFIG} has no key "kubelet": ${WAY_OUT}`);
  if (clusterCidr && serviceCidr) return { kubelet, clusterCidr, serviceCidr, netConf, overlayBackend, isBerth: true };
  const { ClusterConfiguration = '' } = (await readConfigMap(client, KUBEADM_CONFIG)) ?? {};
  const { podSubnet, serviceSubnet } = networkingOf(ClusterConfiguration);
  if (!podSubnet || !serviceSubnet)
    throw new UserError(
      `neither ${NAMESPACE}/${KUBELET_CONFIG} nor networking.podSubnet and serviceSubnet of ${NAMESPACE}/${KUBEADM_CONFIG} tell the networks of the cluster: ${WAY_OUT}`,
    );
  return { kubelet, clusterCidr: podSubnet, serviceCidr: serviceSubnet, isBerth: false };
}

/** The name goes by the version: RBAC lets a token read just the one that kubeadm made, and a forbidden request in the audit log alarms people. */
async function readKubeletConfig(client: KubeClient): Promise<Record<string, string>> {
  const { major, minor } = await readVersion(client);
  const versioned = `${KUBELET_CONFIG}-${major}.${minor}`;
  const isOld = major === 1 && minor < FIRST_MINOR_WITHOUT_VERSION;
  for (const name of isOld ? [versioned, KUBELET_CONFIG] : [KUBELET_CONFIG, versioned]) {
    const found = await readConfigMap(client, name);
    if (found) return found;
  }
  throw new UserError(
    `the token may read neither ${NAMESPACE}/${KUBELET_CONFIG} nor ${versioned}, or there are none: ${WAY_OUT}`,
  );
}

/** undefined where there is none, or none that the token may see: RBAC answers 403 for a name that kubeadm never made. */
async function readConfigMap(client: KubeClient, name: string): Promise<Record<string, string> | undefined> {
  try {
    return (await client.get(configMaps, { namespace: NAMESPACE, name })).data ?? {};
  } catch (error) {
    if (isNotFound(error) || isForbidden(error)) return undefined;
    throw error;
  }
}

async function readVersion(client: KubeClient): Promise<{ major: number; minor: number }> {
  const { body } = await client.raw('/version');
  const { major = '', minor = '' } = JSON.parse(await body.text()) as { major?: string; minor?: string };
  // Some clouds say "20+".
  return { major: Number.parseInt(major, 10), minor: Number.parseInt(minor, 10) };
}

function networkingOf(clusterConfiguration: string): { podSubnet?: string; serviceSubnet?: string } {
  const { networking } = (parse(clusterConfiguration) ?? {}) as {
    networking?: { podSubnet?: string; serviceSubnet?: string };
  };
  return networking ?? {};
}

/**
 * The cluster's KubeletConfiguration as this host needs it: the file of the cluster's CA is here, a resolv.conf that only the first host has is not asked for, and a node
 * that got its certificates by asking renews them the same way. Serving certificates are asked for where somebody approves them: in a cluster of Berth, or where the
 * cluster says so.
 */
export function configForHost({ kubelet, isBerth }: Pick<NodeConfig, 'kubelet' | 'isBerth'>, caFile: string): string {
  const document = parseDocument(kubelet);
  document.setIn(['authentication', 'x509', 'clientCAFile'], caFile);
  if (!document.has('rotateCertificates')) document.set('rotateCertificates', true);
  if (isBerth && !document.has('serverTLSBootstrap')) document.set('serverTLSBootstrap', true);
  const resolvConf = document.get('resolvConf');
  if (typeof resolvConf === 'string' && !existsSync(resolvConf)) document.delete('resolvConf');
  return document.toString();
}
