/**
 * Recording rules and alerts of the kind that clusters run with: what they ask for, and how they join it, in our own words. The times are
 * short, so that a test sees them through.
 */
import { pod, script } from './manifests.ts';

interface Rule {
  expr: string;
  labels?: Record<string, string>;
}

/** By what they record. */
const RECORDED: Record<string, Rule> = {
  'namespace_pod_container:cpu_seconds:rate': {
    expr: 'sum by (node, namespace, pod, container) (rate(container_cpu_usage_seconds_total{job="cadvisor",image!=""}[20s]))',
  },
  'namespace_pod_container:memory_working_set:bytes': {
    expr: 'max by (node, namespace, pod, container) (container_memory_working_set_bytes{job="cadvisor",image!="",container!=""})',
  },
  'namespace_pod_container:memory_rss:bytes': {
    expr: 'max by (node, namespace, pod, container) (container_memory_rss{job="cadvisor",image!="",container!=""})',
  },
  'namespace_pod_container:memory_cache:bytes': {
    expr: 'max by (node, namespace, pod, container) (container_memory_cache{job="cadvisor",image!="",container!=""})',
  },
  'namespace_pod_container:memory_swap:bytes': {
    expr: 'max by (node, namespace, pod, container) (container_memory_swap{job="cadvisor",image!="",container!=""})',
  },
  'namespace_pod_container:memory_limit:share': {
    expr: 'container_memory_working_set_bytes{job="cadvisor",container!=""} / (container_spec_memory_limit_bytes{job="cadvisor",container!=""} > 0)',
  },
  'namespace_pod:network_received:rate': {
    expr: 'sum by (node, namespace, pod) (rate(container_network_receive_bytes_total{job="cadvisor",pod!=""}[20s]))',
  },
  'namespace_pod:network_dropped:rate': {
    expr: 'sum by (node, namespace, pod) (rate(container_network_receive_packets_dropped_total{job="cadvisor",pod!=""}[20s]) + rate(container_network_transmit_packets_dropped_total{job="cadvisor",pod!=""}[20s]))',
  },
  'node:cpu_of_pods:share': {
    expr: 'sum by (node) (rate(container_cpu_usage_seconds_total{job="cadvisor",id="/kubepods"}[20s])) / on (node) sum by (node) (machine_cpu_cores{job="cadvisor"})',
  },
  'node:memory_of_pods:share': {
    expr: 'sum by (node) (container_memory_working_set_bytes{job="cadvisor",id="/kubepods"}) / on (node) sum by (node) (machine_memory_bytes{job="cadvisor"})',
  },
  'pod:cpu_seconds:rate': {
    expr: 'sum by (node, namespace, pod) (rate(pod_cpu_usage_seconds_total{job="kubelet",metrics_path="/metrics/resource"}[20s]))',
  },
  'node_quantile:pleg_relist_seconds': {
    expr: 'histogram_quantile(0.99, sum by (instance, le) (rate(kubelet_pleg_relist_duration_seconds_bucket{job="kubelet"}[2m])) * on (instance) group_left (node) max by (instance, node) (kubelet_node_name{job="kubelet"}))',
    labels: { quantile: '0.99' },
  },
  'node_operation:runtime_errors:ratio': {
    // No operation has failed, and no series tells so.
    expr: '(sum by (node) (kubelet_runtime_operations_errors_total{job="kubelet"}) or 0 * sum by (node) (kubelet_runtime_operations_total{job="kubelet"})) / on (node) sum by (node) (kubelet_runtime_operations_total{job="kubelet"})',
  },
  'node_plugin:storage_operation_seconds:mean': {
    expr: 'sum by (node, volume_plugin) (storage_operation_duration_seconds_sum{job="kubelet",operation_name="volume_mount"}) / sum by (node, volume_plugin) (storage_operation_duration_seconds_count{job="kubelet",operation_name="volume_mount"})',
  },
};

/** Alerts that the test's pods give reason for, and those that a healthy node must not raise. */
const FIRING: Record<string, Rule> = {
  ContainerIsThrottled: {
    expr: 'sum by (namespace, pod, container) (increase(container_cpu_cfs_throttled_periods_total{job="cadvisor",container!=""}[20s])) / sum by (namespace, pod, container) (increase(container_cpu_cfs_periods_total{job="cadvisor",container!=""}[20s])) > 0.5',
  },
  ContainerRanOutOfMemory: {
    expr: 'sum by (namespace, pod, container) (container_oom_events_total{job="cadvisor",container!=""}) > 0',
  },
  VolumeAlmostFull: {
    expr: 'kubelet_volume_stats_available_bytes{job="kubelet"} / kubelet_volume_stats_capacity_bytes{job="kubelet"} < 0.1 and kubelet_volume_stats_used_bytes{job="kubelet"} > 0',
  },
};

const SILENT: Record<string, Rule> = {
  AgentIsDown: { expr: 'absent(up{job="kubelet",metrics_path="/metrics"} == 1)' },
  StatisticsAreDown: {
    expr: 'container_scrape_error{job="cadvisor"} > 0 or machine_scrape_error{job="cadvisor"} > 0 or resource_scrape_error > 0 or absent(up{job="cadvisor"} == 1)',
  },
  RelistsAreSlow: { expr: 'node_quantile:pleg_relist_seconds{quantile="0.99"} >= 10' },
  PodsStartSlowly: {
    expr: 'histogram_quantile(0.99, sum by (instance, le) (rate(kubelet_pod_worker_duration_seconds_bucket{job="kubelet"}[2m]))) * on (instance) group_left (node) kubelet_node_name{job="kubelet"} > 60',
  },
  PodsAreCreatedSlowly: {
    expr: 'histogram_quantile(0.99, sum by (node, le) (kubelet_pod_start_sli_duration_seconds_bucket{job="kubelet"})) > 60',
  },
  NodeIsFull: { expr: 'kubelet_running_pods{job="kubelet"} / 110 > 0.95' },
  CertificateEndsSoon: {
    expr: 'kubelet_certificate_manager_client_ttl_seconds{job="kubelet"} < 7 * 86400 or kubelet_certificate_manager_server_ttl_seconds{job="kubelet"} < 7 * 86400',
  },
  CertificateIsNotRenewed: {
    expr: 'increase(kubelet_certificate_manager_client_expiration_renew_errors{job="kubelet"}[2m]) > 0 or increase(kubelet_server_expiration_renew_errors{job="kubelet"}[2m]) > 0',
  },
  ConfigurationIsWrong: { expr: 'kubelet_node_config_error{job="kubelet"} > 0' },
  PodsAreEvicted: { expr: 'sum by (node, eviction_signal) (rate(kubelet_evictions{job="kubelet"}[2m])) > 0' },
  VolumesAreMissing: {
    expr: 'sum by (node) (volume_manager_total_volumes{job="kubelet",state="desired_state_of_world"}) - sum by (node) (volume_manager_total_volumes{job="kubelet",state="actual_state_of_world"}) > 0',
  },
};

export const recordedSeries = Object.keys(RECORDED);
export const firingAlerts = Object.keys(FIRING);
export const silentAlerts = Object.keys(SILENT);

/** A rules file, evaluated every second. */
export function renderRules(): string {
  const rules = [
    ...Object.entries(RECORDED).map(([record, rule]) => ({ record, ...rule })),
    ...Object.entries({ ...FIRING, ...SILENT }).map(([alert, rule]) => ({ alert, ...rule })),
  ];
  return JSON.stringify({ groups: [{ name: 'berth', interval: '1s', rules }] });
}

/** The names of series that the silent alerts ask for and that every node must have: an alert about nothing is silent too. */
export const ASKED_OF_EVERY_NODE = [
  'kubelet_node_config_error',
  'kubelet_certificate_manager_client_ttl_seconds',
  'kubelet_certificate_manager_server_ttl_seconds',
  'kubelet_certificate_manager_client_expiration_renew_errors',
  'kubelet_server_expiration_renew_errors',
  'kubelet_pod_start_sli_duration_seconds_bucket',
  'kubelet_pod_worker_duration_seconds_bucket',
  'kubelet_runtime_operations_total',
  'kubelet_running_pods',
  'container_scrape_error',
  'machine_scrape_error',
  'resource_scrape_error',
  'volume_manager_total_volumes{state="desired_state_of_world"}',
  'volume_manager_total_volumes{state="actual_state_of_world"}',
];

/** Pods that the firing alerts are about: `busy` is throttled, `hungry` loses a process to its memory limit and fills its volume, which is small: /srv/small. */
export function reasonsToAlert(node: string): object[] {
  const claim = { persistentVolumeClaim: { claimName: 'small' } };
  return [
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'small' },
      spec: {
        ...{ capacity: { storage: '1Mi' }, accessModes: ['ReadWriteOnce'], storageClassName: '' },
        ...{ local: { path: '/srv/small' }, claimRef: { namespace: 'default', name: 'small' } },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [node] }] },
            ],
          },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'small' },
      spec: {
        ...{ accessModes: ['ReadWriteOnce'], storageClassName: '', volumeName: 'small' },
        resources: { requests: { storage: '1Mi' } },
      },
    },
    pod('busy', { ...script('while :; do :; done'), resources: { limits: { cpu: '50m', memory: '16Mi' } } }),
    pod(
      'hungry',
      {
        ...script('head -c 1000000 /dev/zero >/data/full; tail /dev/zero; trap "exit 0" TERM; sleep 100000 & wait'),
        resources: { limits: { memory: '12Mi' } },
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      },
      { volumes: [{ name: 'data', ...claim }] },
    ),
  ];
}
