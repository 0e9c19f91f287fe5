import { nodeLeaseDurationSeconds, type Settings } from '../settings.ts';
import { dnsServiceAddress } from './addresses.ts';

/**
 * What another host must know of this cluster beside its credentials: a KubeletConfiguration for `berth node --config`. The ranges are
 * no fields of that kind; they are told as the command that goes with the file.
 */
export function renderNodeConfig(settings: Settings): string {
  const { podCidr, serviceCidr, clusterDomain } = settings;
  return `# berth node --config THIS_FILE --kubeconfig FILE --cluster-cidr ${podCidr} --service-cidr ${serviceCidr}
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
clusterDNS:
  - ${dnsServiceAddress(serviceCidr)}
clusterDomain: ${JSON.stringify(clusterDomain)}
nodeLeaseDurationSeconds: ${nodeLeaseDurationSeconds(settings)}
rotateCertificates: true
serverTLSBootstrap: true
`;
}
