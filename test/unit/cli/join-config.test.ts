/** What a host that joins takes from the cluster, Berth's own or one of kubeadm's, and what it makes of it. */
import test from 'ava';
import { parse } from 'yaml';
import { configForHost, readNodeConfig } from '../../../cli/join/node-config.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import { ApiError } from '../../../src/kube/errors.ts';

const KUBEADM = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
networking: { dnsDomain: cluster.local, podSubnet: 10.10.0.0/16, serviceSubnet: 10.11.0.0/16 }
`;

/** An API server of this version that has these ConfigMaps in kube-system, and answers 403 for names that nobody gave a token a right to. */
function clientOf(
  configMaps: Record<string, Record<string, string>>,
  { minor = '36', refused = [] as string[] } = {},
): KubeClient {
  return {
    async get(_: unknown, { name }: { name: string }) {
      const data = configMaps[name];
      if (data) return { metadata: { name }, data };
      refused.push(name);
      throw new ApiError({
        apiVersion: 'v1',
        kind: 'Status',
        metadata: {},
        status: 'Failure',
        code: 403,
        reason: 'Forbidden',
        message: `${name} is forbidden`,
      });
    },
    raw: async () => ({ body: { text: async () => JSON.stringify({ major: '1', minor }) } }),
  } as unknown as KubeClient;
}

test('a cluster of Berth says it all in kubelet-config', async (t) => {
  const data = { kubelet: 'k', 'cluster-cidr': '10.1.0.0/16', 'service-cidr': '10.2.0.0/16' };
  t.deepEqual(await readNodeConfig(clientOf({ 'kubelet-config': data })), {
    kubelet: 'k',
    clusterCidr: '10.1.0.0/16',
    serviceCidr: '10.2.0.0/16',
    overlayBackend: undefined,
    netConf: undefined,
    isBerth: true,
  });
});

for (const [name, minor, refusals] of [
  ['kubelet-config', '24', []],
  ['kubelet-config-1.20', '20+', []],
  ['kubelet-config', '20', ['kubelet-config-1.20']],
] as const)
  test(`a cluster of kubeadm, 1.${minor}, with ${name}`, async (t) => {
    const refused: string[] = [];
    const configMaps: Record<string, Record<string, string>> = {
      [name]: { kubelet: 'k' },
      'kubeadm-config': { ClusterConfiguration: KUBEADM },
    };
    t.deepEqual(await readNodeConfig(clientOf(configMaps, { minor, refused })), {
      kubelet: 'k',
      clusterCidr: '10.10.0.0/16',
      serviceCidr: '10.11.0.0/16',
      isBerth: false,
    });
    t.deepEqual(refused, [...refusals], 'nothing is asked for that is forbidden');
  });

for (const [what, configMaps, says] of [
  [
    'nothing',
    {},
    /the token may read neither kube-system\/kubelet-config nor kubelet-config-1\.36, or there are none: use berth node --bootstrap-kubeconfig/,
  ],
  ['no networks', { 'kubelet-config': { kubelet: 'k' }, 'kubeadm-config': {} }, /tell the networks of the cluster/],
  ['no configuration', { 'kubelet-config': {} }, /has no key "kubelet"/],
] as const)
  test(`a cluster that tells ${what} is refused, with the way out`, async (t) => {
    await t.throwsAsync(readNodeConfig(clientOf(configMaps as never)), { message: says });
  });

const kubelet = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
  anonymous:
    enabled: false
resolvConf: /run/nowhere/resolv.conf
maxPods: 42
`;

test('the CA is the file of this host, a resolv.conf of another host is left out, the rest stays', (t) => {
  t.deepEqual(parse(configForHost({ kubelet, isBerth: false }, '/var/lib/berth-node/pki/ca.crt')), {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: '/var/lib/berth-node/pki/ca.crt' }, anonymous: { enabled: false } },
    maxPods: 42,
    rotateCertificates: true,
  });
  const own = configForHost({ kubelet: 'kind: KubeletConfiguration\nresolvConf: /dev/null\n', isBerth: true }, '/ca');
  t.like(parse(own), { serverTLSBootstrap: true, resolvConf: '/dev/null' });
  const said = configForHost(
    { kubelet: 'serverTLSBootstrap: false\nrotateCertificates: false\n', isBerth: true },
    '/ca',
  );
  t.like(parse(said), { serverTLSBootstrap: false, rotateCertificates: false });
});
