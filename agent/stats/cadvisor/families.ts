import type { Pressure } from '../../../src/linux/cgroup/stat-text.ts';
import type { InterfaceCounters } from '../../../src/linux/net-dev.ts';
import { formatLabels, type MetricType } from '../exposition.ts';
import type { CadvisorEntry } from './entries.ts';

/** Writes one series of the entry: a value that is undefined has none. @param extra labels beyond the entry's own, `,a="b"`. */
export type Emit = (value: number | undefined, extra?: string) => void;

export interface Family {
  name: string;
  type: MetricType;
  help: string;
  write(entry: CadvisorEntry, emit: Emit, context: FamilyContext): void;
}

export interface FamilyContext {
  /** Seconds since the epoch, of the reading. */
  nowSeconds: number;
  /** `/dev/vda` for `254:0`. */
  deviceName(number: string): string;
}

const seconds = (nanos: number | undefined) => (nanos === undefined ? undefined : nanos / 1e9);
const microseconds = (micros: number | undefined) => (micros === undefined ? undefined : micros / 1e6);
/** cAdvisor's way of saying that there is no limit. */
const orZero = (value: number | undefined) => value ?? 0;

type Value = (entry: CadvisorEntry, context: FamilyContext) => number | undefined;
const gauge = (name: string, help: string, value: Value): Family => one(name, 'gauge', help, value);
const counter = (name: string, help: string, value: Value): Family => one(name, 'counter', help, value);

function one(name: string, type: MetricType, help: string, value: Value): Family {
  return { name, type, help, write: (entry, emit, context) => emit(value(entry, context)) };
}

function network(
  direction: 'receive' | 'transmit',
  what: string,
  doing: string,
  value: (one: InterfaceCounters) => number,
): Family {
  return {
    name: `container_network_${direction}_${what}_total`,
    type: 'counter',
    help: `Cumulative count of ${doing}`,
    write({ interfaces }, emit) {
      for (const one of interfaces ?? []) emit(value(one), `,${formatLabels({ interface: one.name })}`);
    },
  };
}

function disk(name: string, help: string, value: (disk: NonNullable<CadvisorEntry['disk']>) => number): Family {
  return {
    name,
    type: 'gauge',
    help,
    write: ({ disk }, emit) => disk && emit(value(disk), `,${formatLabels({ device: disk.device })}`),
  };
}

function io(name: string, help: string, field: 'readBytes' | 'writeBytes' | 'reads' | 'writes'): Family {
  return {
    name,
    type: 'counter',
    help,
    write({ reading }, emit, { deviceName }) {
      for (const [number, counts] of reading.detail?.io ?? []) emit(counts[field], `,device="${deviceName(number)}"`);
    },
  };
}

function pressure(resource: 'cpu' | 'memory' | 'io', kind: 'waiting' | 'stalled', congestion: string): Family {
  const doing =
    kind === 'waiting'
      ? `tasks in the container have waited due to ${congestion} congestion.`
      : `no tasks in the container could make progress due to ${congestion} congestion.`;
  const line = (psi: Pressure | undefined) => (kind === 'waiting' ? psi?.some : psi?.full);
  return counter(
    `container_pressure_${resource}_${kind}_seconds_total`,
    `Total time duration ${doing}`,
    ({ reading }) => microseconds(line(reading.pressure?.[resource])?.total),
  );
}

const throttled = (entry: CadvisorEntry) => entry.reading.limits.cpuQuotaUs !== undefined;

/** What /metrics/cadvisor shows of each cgroup, under cAdvisor's names and helps (sheet §21.2), by name. */
export const CONTAINER_FAMILIES: readonly Family[] = [
  {
    name: 'container_blkio_device_usage_total',
    type: 'counter',
    help: 'Blkio Device bytes usage',
    write({ reading }, emit, { deviceName }) {
      for (const [number, { readBytes, writeBytes }] of reading.detail?.io ?? []) {
        const [major, minor] = number.split(':');
        const device = `,device="${deviceName(number)}",major="${major}",minor="${minor}"`;
        emit(readBytes, `${device},operation="Read"`);
        emit(writeBytes, `${device},operation="Write"`);
      }
    },
  },
  counter('container_cpu_cfs_periods_total', 'Number of elapsed enforcement period intervals.', (entry) =>
    throttled(entry) ? entry.reading.cpu?.periods : undefined,
  ),
  counter('container_cpu_cfs_throttled_periods_total', 'Number of throttled period intervals.', (entry) =>
    throttled(entry) ? entry.reading.cpu?.throttledPeriods : undefined,
  ),
  counter(
    'container_cpu_cfs_throttled_seconds_total',
    'Total time duration the container has been throttled.',
    (entry) => (throttled(entry) ? seconds(entry.reading.cpu?.throttledNanos) : undefined),
  ),
  counter('container_cpu_system_seconds_total', 'Cumulative system cpu time consumed in seconds.', ({ reading }) =>
    seconds(reading.cpu?.systemNanos),
  ),
  {
    name: 'container_cpu_usage_seconds_total',
    type: 'counter',
    help: 'Cumulative cpu time consumed in seconds.',
    write: ({ reading }, emit) => emit(seconds(reading.cpu?.usageNanos), ',cpu="total"'),
  },
  counter('container_cpu_user_seconds_total', 'Cumulative user cpu time consumed in seconds.', ({ reading }) =>
    seconds(reading.cpu?.userNanos),
  ),
  gauge(
    'container_file_descriptors',
    'Number of open file descriptors for the container.',
    ({ processes }) => processes?.fileDescriptors,
  ),
  disk('container_fs_inodes_free', 'Number of available Inodes', ({ fs }) => fs.inodesFree),
  disk('container_fs_inodes_total', 'Number of Inodes', ({ fs }) => fs.inodes),
  disk(
    'container_fs_limit_bytes',
    'Number of bytes that can be consumed by the container on this filesystem.',
    ({ fs }) => fs.capacityBytes,
  ),
  io('container_fs_reads_bytes_total', 'Cumulative count of bytes read', 'readBytes'),
  io('container_fs_reads_total', 'Cumulative count of reads completed', 'reads'),
  disk(
    'container_fs_usage_bytes',
    'Number of bytes that are consumed by the container on this filesystem.',
    ({ usage }) => usage.bytes,
  ),
  io('container_fs_writes_bytes_total', 'Cumulative count of bytes written', 'writeBytes'),
  io('container_fs_writes_total', 'Cumulative count of writes completed', 'writes'),
  gauge('container_last_seen', 'Last time a container was seen by the exporter', (_, { nowSeconds }) => nowSeconds),
  gauge('container_memory_cache', 'Number of bytes of page cache memory.', ({ memory }) => memory?.cacheBytes),
  counter(
    'container_memory_failcnt',
    'Number of memory usage hits limits',
    ({ reading }) => reading.detail?.events.max,
  ),
  {
    name: 'container_memory_failures_total',
    type: 'counter',
    help: 'Cumulative count of memory allocation failures.',
    write({ reading: { memory } }, emit) {
      for (const scope of ['container', 'hierarchy']) {
        emit(memory?.pageFaults, `,failure_type="pgfault",scope="${scope}"`);
        emit(memory?.majorPageFaults, `,failure_type="pgmajfault",scope="${scope}"`);
      }
    },
  },
  gauge(
    'container_memory_kernel_usage',
    'Size of kernel memory allocated in bytes.',
    ({ reading }) => reading.detail?.kernelBytes,
  ),
  gauge(
    'container_memory_mapped_file',
    'Size of memory mapped files in bytes.',
    ({ memory }) => memory?.mappedFileBytes,
  ),
  gauge(
    'container_memory_max_usage_bytes',
    'Maximum memory usage recorded in bytes',
    ({ reading }) => reading.detail?.peakBytes,
  ),
  gauge('container_memory_rss', 'Size of RSS in bytes.', ({ reading }) => reading.memory?.rssBytes),
  gauge('container_memory_swap', 'Container swap usage in bytes.', ({ reading }) => reading.swapBytes),
  gauge(
    'container_memory_total_active_file_bytes',
    'Current total active file in bytes.',
    ({ memory }) => memory?.activeFileBytes,
  ),
  gauge(
    'container_memory_total_inactive_file_bytes',
    'Current total inactive file in bytes.',
    ({ memory }) => memory?.inactiveFileBytes,
  ),
  gauge(
    'container_memory_usage_bytes',
    'Current memory usage in bytes, including all memory regardless of when it was accessed',
    ({ reading }) => reading.memory?.usageBytes,
  ),
  gauge(
    'container_memory_working_set_bytes',
    'Current working set in bytes.',
    ({ reading }) => reading.memory?.workingSetBytes,
  ),
  network('receive', 'bytes', 'bytes received', ({ rxBytes }) => rxBytes),
  network('receive', 'errors', 'errors encountered while receiving', ({ rxErrors }) => rxErrors),
  network('receive', 'packets_dropped', 'packets dropped while receiving', ({ rxDropped }) => rxDropped),
  network('receive', 'packets', 'packets received', ({ rxPackets }) => rxPackets),
  network('transmit', 'bytes', 'bytes transmitted', ({ txBytes }) => txBytes),
  network('transmit', 'errors', 'errors encountered while transmitting', ({ txErrors }) => txErrors),
  network('transmit', 'packets_dropped', 'packets dropped while transmitting', ({ txDropped }) => txDropped),
  network('transmit', 'packets', 'packets transmitted', ({ txPackets }) => txPackets),
  counter(
    'container_oom_events_total',
    'Count of out of memory events observed for the container',
    ({ reading }) => reading.detail?.events.oomKills,
  ),
  pressure('cpu', 'stalled', 'CPU'),
  pressure('cpu', 'waiting', 'CPU'),
  pressure('io', 'stalled', 'IO'),
  pressure('io', 'waiting', 'IO'),
  pressure('memory', 'stalled', 'memory'),
  pressure('memory', 'waiting', 'memory'),
  gauge(
    'container_processes',
    'Number of processes running inside the container.',
    ({ processes }) => processes?.processes,
  ),
  gauge('container_sockets', 'Number of open sockets for the container.', ({ processes }) => processes?.sockets),
  gauge('container_spec_cpu_period', 'CPU period of the container.', ({ reading }) => reading.limits.cpuPeriodUs),
  gauge('container_spec_cpu_quota', 'CPU quota of the container.', ({ reading }) => reading.limits.cpuQuotaUs),
  gauge('container_spec_cpu_shares', 'CPU share of the container.', ({ reading }) => reading.limits.cpuShares),
  gauge('container_spec_memory_limit_bytes', 'Memory limit for the container.', ({ reading }) =>
    orZero(reading.limits.memoryBytes),
  ),
  gauge('container_spec_memory_reservation_limit_bytes', 'Memory reservation limit for the container.', ({ reading }) =>
    orZero(reading.limits.reservationBytes),
  ),
  gauge('container_spec_memory_swap_limit_bytes', 'Memory swap limit for the container.', ({ reading }) =>
    orZero(reading.limits.swapBytes),
  ),
  gauge('container_start_time_seconds', 'Start time of the container since unix epoch in seconds.', ({ startedAtMs }) =>
    Math.floor(startedAtMs / 1000),
  ),
  {
    name: 'container_tasks_state',
    type: 'gauge',
    help: 'Number of tasks in given state',
    write({ processes }, emit) {
      for (const [state, count] of Object.entries(processes?.states ?? {})) emit(count, `,state="${state}"`);
    },
  },
  gauge('container_threads', 'Number of threads running inside the container', ({ reading }) => reading.tasks),
  {
    name: 'container_ulimits_soft',
    type: 'gauge',
    help: 'Soft ulimit values for the container root process. Unlimited if -1, except priority and nice',
    write: ({ processes }, emit) => processes && emit(processes.maxOpenFiles, ',ulimit="max_open_files"'),
  },
];
