import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { ContainerGcPolicy } from '../../agent/gc/container-plan.ts';
import type { ImageSettings } from '../../agent/images/image-parts.ts';
import type { CertificatePair } from '../../src/auth/authority.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { NetworkOfNode, PodNetworkPart } from './pod-network-part.ts';

/** What the programs that run an agent hand to it: configuration, places, identities. */
export interface AgentPartOptions {
  config: KubeletConfiguration;
  nodeName: string;
  nodeIps: string[];
  /** Beside those that every node has. */
  nodeLabels?: Record<string, string>;
  /** A cloud's controller completes the node before pods come. */
  hasExternalCloud?: boolean;
  /** State of pods: `pods/<uid>/…` below it. */
  rootDir: string;
  podLogsDir: string;
  containerLogsDir: string;
  pauseImage: string;
  images: ImageSettings;
  dockerEndpoint: string;
  /** Others use the Engine too: what they brought there is not ours to remove. */
  sharesEngine?: boolean;
  /** Absent: upstream's defaults. */
  containerGc?: ContainerGcPolicy;
  /** `auto`, `none`, or a runtime that the Engine knows. */
  podRuntime: string;
  /** What failSwapOn is where the configuration says nothing; true, as upstream, unless given. */
  failSwapOnUnsaid?: boolean;
  /** Of the HTTPS port; signed by whoever the API server trusts for nodes. */
  serving: CertificatePair;
  /** Who signs the certificates of that port's clients. */
  clientCaPem: string;
  /** The node's identity at the API server; absent: static pods only, without a Node object. */
  client?: KubeClient;
  /** That identity's certificate, if it is one: its end is watched. */
  clientCertPem?: string;
  /** Where certificates that are renewed are kept; absent: they stay what they are. */
  certDir?: string;
  /** Renews the pair in tlsCertFile and tlsPrivateKeyFile in time, where this program made it. */
  renewServing?(): Promise<void>;
  /** Credentials to ask for a client certificate with where the one before has ended. */
  bootstrapKubeconfig?: string;
  /** The client's pair, where it is renewed. */
  rotatingClient?: CertificatePair;
  /** The serving pair, where one was issued before. */
  rotatingServing?: CertificatePair;
  /** How the program was called, for /flagz. */
  flags?: Readonly<Record<string, string>>;
  /** What the agent's /metrics shows. */
  metrics: Registry;
  createNetwork(node: NetworkOfNode): PodNetworkPart;
}
