import { formatBootstrapToken, makeBootstrapToken } from '../../src/auth/bootstrap-token.ts';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';

const RBAC = 'rbac.authorization.k8s.io';
const BOOTSTRAPPERS = 'system:bootstrappers:kubeadm:default-node-token';
const group = (name: string) => [{ apiGroup: RBAC, kind: 'Group', name }];

export interface KubeadmCluster {
  token: string;
  /** What `kubectl apply` makes of a bare control plane. */
  objects: object[];
}

/**
 * What `kubeadm init` leaves in a cluster for the hosts that join it (kubeadm's phases upload-config, bootstrap-token and kubelet-config): a bootstrap token, cluster-info, the two
 * ConfigMaps, and who may do what with the token.
 * @param options.minor of the Kubernetes version: before 1.24 kubelet-config has the version in its name
 */
export function kubeadmCluster(options: {
  server: string;
  caPem: string;
  minor: number;
  podSubnet: string;
  serviceSubnet: string;
}): KubeadmCluster {
  const token = makeBootstrapToken();
  const kubeletConfig = options.minor < 24 ? `kubelet-config-1.${options.minor}` : 'kubelet-config';
  const binding = (name: string, role: string, to: string) => ({
    apiVersion: `${RBAC}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: `kubeadm:${name}` },
    roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: role },
    subjects: group(to),
  });
  const mayRead = (configMap: string, namespace: string, subjects: object[]) => [
    {
      apiVersion: `${RBAC}/v1`,
      kind: 'Role',
      metadata: { name: `kubeadm:${configMap}`, namespace },
      rules: [{ apiGroups: [''], resources: ['configmaps'], resourceNames: [configMap], verbs: ['get'] }],
    },
    {
      apiVersion: `${RBAC}/v1`,
      kind: 'RoleBinding',
      metadata: { name: `kubeadm:${configMap}`, namespace },
      roleRef: { apiGroup: RBAC, kind: 'Role', name: `kubeadm:${configMap}` },
      subjects,
    },
  ];
  const configMap = (name: string, namespace: string, data: Record<string, string>) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace },
    data,
  });
  const joiners = [...group(BOOTSTRAPPERS), ...group('system:nodes')];
  const { server, caPem, podSubnet, serviceSubnet } = options;
  return {
    token: formatBootstrapToken(token),
    objects: [
      {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: `bootstrap-token-${token.id}`, namespace: 'kube-system' },
        type: 'bootstrap.kubernetes.io/token',
        stringData: {
          'token-id': token.id,
          'token-secret': token.secret,
          'usage-bootstrap-authentication': 'true',
          'usage-bootstrap-signing': 'true',
          'auth-extra-groups': BOOTSTRAPPERS,
        },
      },
      binding('kubelet-bootstrap', 'system:node-bootstrapper', BOOTSTRAPPERS),
      binding(
        'node-autoapprove-bootstrap',
        'system:certificates.k8s.io:certificatesigningrequests:nodeclient',
        BOOTSTRAPPERS,
      ),
      binding(
        'node-autoapprove-certificate-rotation',
        'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient',
        'system:nodes',
      ),
      {
        apiVersion: `${RBAC}/v1`,
        kind: 'ClusterRole',
        metadata: { name: 'kubeadm:get-nodes' },
        rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }],
      },
      binding('get-nodes', 'kubeadm:get-nodes', BOOTSTRAPPERS),
      configMap('cluster-info', 'kube-public', { kubeconfig: renderKubeconfig({ server, caPem }) }),
      ...mayRead('cluster-info', 'kube-public', [{ apiGroup: RBAC, kind: 'User', name: 'system:anonymous' }]),
      configMap('kubeadm-config', 'kube-system', {
        ClusterConfiguration: [
          'apiVersion: kubeadm.k8s.io/v1beta2',
          'kind: ClusterConfiguration',
          'networking:',
          '  dnsDomain: cluster.local',
          `  podSubnet: ${podSubnet}`,
          `  serviceSubnet: ${serviceSubnet}`,
          '',
        ].join('\n'),
      }),
      ...mayRead('kubeadm-config', 'kube-system', joiners),
      configMap(kubeletConfig, 'kube-system', {
        kubelet: [
          'apiVersion: kubelet.config.k8s.io/v1beta1',
          'kind: KubeletConfiguration',
          'authentication:',
          '  x509:',
          '    clientCAFile: /etc/kubernetes/pki/ca.crt',
          'cgroupDriver: systemd',
          'clusterDNS: [10.96.0.10]',
          'clusterDomain: cluster.local',
          'resolvConf: /run/systemd/resolve/resolv.conf',
          'rotateCertificates: true',
          '# What an operator adds who wants the API server to check whom it talks to.',
          'serverTLSBootstrap: true',
          'staticPodPath: /etc/kubernetes/manifests',
          'failSwapOn: false',
          '',
        ].join('\n'),
      }),
      ...mayRead(kubeletConfig, 'kube-system', joiners),
    ],
  };
}
