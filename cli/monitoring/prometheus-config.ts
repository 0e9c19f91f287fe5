import type { Node } from '../../src/kube/types.ts';

/** Where a cluster's endpoints are, as far as its settings tell. */
export interface PrometheusTargets {
  apiPort: number;
  proxyMetricsPort: number;
  dnsMetricsPort: number;
}

/**
 * prometheus.yml with the job names that the kubernetes-mixin's dashboards and alerts ask for. Paths are relative to the file.
 * Nodes come from a file, not from kubernetes_sd_configs: Debian builds Prometheus without that.
 */
export function renderPrometheusConfig({ apiPort, proxyMetricsPort, dnsMetricsPort }: PrometheusTargets): string {
  return `# Scrapes the cluster that \`berth up\` made on this host. \`berth prometheus FOLDER\` writes the certificate files and
# nodes.json beside this file; repeat it when nodes have joined (Prometheus sees the change) or the certificate's year is over.
global:
  scrape_interval: 15s

scrape_configs:
  # The API server, with the scheduler and the controllers, which share its process.
  - job_name: kube-apiserver
    scheme: https
    tls_config: &identity
      ca_file: ca.crt
      cert_file: prometheus.crt
      key_file: prometheus.key
    static_configs:
      - targets: ['127.0.0.1:${apiPort}']

  # The agents of all nodes. A Prometheus that has it finds them by kubernetes_sd_configs with the same identity: role node,
  # api_server https://127.0.0.1:${apiPort}.
  - job_name: kubelet
    scheme: https
    tls_config: *identity
    file_sd_configs: &nodes
      - files: [nodes.json]
    relabel_configs: &as-kubelet
      - source_labels: [__metrics_path__]
        target_label: metrics_path
      - target_label: job
        replacement: kubelet

  - job_name: kubelet-probes
    metrics_path: /metrics/probes
    scheme: https
    tls_config: *identity
    file_sd_configs: *nodes
    relabel_configs: *as-kubelet

  # What nodes, pods and containers use, in short: for autoscalers and their like.
  - job_name: kubelet-resource
    metrics_path: /metrics/resource
    scheme: https
    tls_config: *identity
    file_sd_configs: *nodes
    relabel_configs: *as-kubelet

  # The same at length, under the names of cAdvisor.
  - job_name: cadvisor
    metrics_path: /metrics/cadvisor
    scheme: https
    tls_config: *identity
    file_sd_configs: *nodes
    relabel_configs:
      - source_labels: [__metrics_path__]
        target_label: metrics_path

  # The proxy and the DNS server of this host: their metrics are on the loopback interface, as upstream's proxy has them.
  - job_name: kube-proxy
    static_configs:
      - targets: ['127.0.0.1:${proxyMetricsPort}']

  - job_name: kube-dns
    static_configs:
      - targets: ['127.0.0.1:${dnsMetricsPort}']
`;
}

/** nodes.json: the agents' HTTPS ports, as file_sd_configs reads them. Nodes without an address yet are left out. */
export function renderNodeTargets(nodes: readonly Node[]): string {
  const groups = nodes.flatMap(({ metadata, status }) => {
    const address = status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
    const port = status?.daemonEndpoints?.kubeletEndpoint?.Port;
    if (!address || !port) return [];
    const target = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    return [{ targets: [target], labels: { node: metadata.name } }];
  });
  return `${JSON.stringify(groups, null, 2)}\n`;
}
