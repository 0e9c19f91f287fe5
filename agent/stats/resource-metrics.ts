import { formatLabels, header, type MetricType, sample } from './exposition.ts';
import type { ContainerStats, CpuStats, MemoryStats, PodStats, Summary, SwapStats } from './summary.ts';

type Usage = { cpu?: CpuStats; memory?: MemoryStats; swap?: SwapStats };

const cpuSeconds = ({ cpu }: Usage) =>
  cpu?.usageCoreNanoSeconds === undefined ? undefined : cpu.usageCoreNanoSeconds / 1e9;
const workingSet = ({ memory }: Usage) => memory?.workingSetBytes;
const swapUsage = ({ swap }: Usage) => swap?.swapUsageBytes;
const swapLimit = ({ swap }: Usage) =>
  swap?.swapAvailableBytes === undefined ? undefined : swap.swapAvailableBytes + (swap.swapUsageBytes ?? 0);

/**
 * /metrics/resource: what metrics-server and the autoscalers read (sheet §21.2). Values carry the time at which they were read: a rate over
 * two scrapes is only right by that. Pure.
 * @param usage undefined when there was none to be had: only `resource_scrape_error` is told then.
 */
export function renderResourceMetrics(usage: { summary: Summary; timeMs: number } | undefined): string {
  const text: string[] = [];
  const family = (name: string, type: MetricType, help: string, lines: string[]) => {
    if (lines.length > 0) text.push(header(name, type, help), ...lines);
  };
  if (usage) {
    const { node, pods } = usage.summary;
    const one = (name: string, labels: string, value: number | undefined) =>
      value === undefined ? [] : [sample(name, labels, value, usage.timeMs)];
    const containers = pods.flatMap((pod) =>
      pod.containers.map((container) => ({ container, labels: labelsOf(pod, container) })),
    );
    const perContainer = (name: string, value: (container: ContainerStats) => number | undefined) =>
      containers.flatMap(({ container, labels }) => one(name, labels, value(container)));
    const podsWithLabels = pods.map((pod) => ({ pod, labels: labelsOf(pod) }));
    const perPod = (name: string, value: (pod: PodStats) => number | undefined) =>
      podsWithLabels.flatMap(({ pod, labels }) => one(name, labels, value(pod)));

    const [cpu, memory, swap, limit] = [
      'cpu_usage_seconds_total',
      'memory_working_set_bytes',
      'swap_usage_bytes',
      'swap_limit_bytes',
    ];
    family(
      `container_${cpu}`,
      'counter',
      '[STABLE] Cumulative cpu time consumed by the container in core-seconds',
      perContainer(`container_${cpu}`, cpuSeconds),
    );
    family(
      `container_${memory}`,
      'gauge',
      '[STABLE] Current working set of the container in bytes',
      perContainer(`container_${memory}`, workingSet),
    );
    family(
      'container_start_time_seconds',
      'gauge',
      '[STABLE] Start time of the container since unix epoch in seconds',
      containers.flatMap(({ container, labels }) => [
        sample('container_start_time_seconds', labels, Date.parse(container.startTime) / 1000),
      ]),
    );
    family(
      `container_${limit}`,
      'gauge',
      '[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems',
      perContainer(`container_${limit}`, swapLimit),
    );
    family(
      `container_${swap}`,
      'gauge',
      '[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems',
      perContainer(`container_${swap}`, swapUsage),
    );
    family(
      `node_${cpu}`,
      'counter',
      '[STABLE] Cumulative cpu time consumed by the node in core-seconds',
      one(`node_${cpu}`, '', cpuSeconds(node)),
    );
    family(
      `node_${memory}`,
      'gauge',
      '[STABLE] Current working set of the node in bytes',
      one(`node_${memory}`, '', workingSet(node)),
    );
    family(
      `node_${swap}`,
      'gauge',
      '[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems',
      one(`node_${swap}`, '', swapUsage(node)),
    );
    family(
      `pod_${cpu}`,
      'counter',
      '[STABLE] Cumulative cpu time consumed by the pod in core-seconds',
      perPod(`pod_${cpu}`, cpuSeconds),
    );
    family(
      `pod_${memory}`,
      'gauge',
      '[STABLE] Current working set of the pod in bytes',
      perPod(`pod_${memory}`, workingSet),
    );
    family(
      `pod_${swap}`,
      'gauge',
      '[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems',
      perPod(`pod_${swap}`, swapUsage),
    );
  }
  const error = 'resource_scrape_error';
  const help = '[STABLE] 1 if there was an error while getting container metrics, 0 otherwise';
  family(error, 'gauge', help, [sample(error, '', usage ? 0 : 1)]);
  return text.join('');
}

function labelsOf({ podRef: { name, namespace } }: PodStats, container?: ContainerStats): string {
  return formatLabels({ ...(container && { container: container.name }), namespace, pod: name });
}
