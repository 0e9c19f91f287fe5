import { run } from '../exec.ts';
import { type CgroupLimits, cpuWeight } from './values.ts';

/** Slices of systemd, over its D-Bus interface: where Docker uses the systemd driver, systemd owns these cgroups. */
export interface SystemdSlices {
  /** Starts the slice with its limits, or changes those of a running one. */
  ensure(slice: string, limits: CgroupLimits): Promise<void>;
  /** Stops the slice and all in it. Idempotent. */
  stop(slice: string): Promise<void>;
}

type Execute = (program: string, args: string[]) => Promise<unknown>;

const MANAGER = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager'];
/** systemd's "not limited". */
const INFINITY = '18446744073709551615';

export function createSystemdSlices(
  version: 1 | 2,
  execute: Execute = (program, args) => run(program, args),
): SystemdSlices {
  // `--`: the root slice is named `-.slice`, which busctl would take for options.
  const call = (method: string, ...args: string[]) =>
    execute('busctl', ['--system', '--', 'call', ...MANAGER, method, ...args]);
  return {
    async ensure(slice, limits) {
      const properties = renderSliceProperties(version, limits);
      try {
        await call('StartTransientUnit', ...renderStartTransient(slice, properties));
      } catch (error) {
        if (!/already|UnitExists/.test(String(error))) throw error;
        await call('SetUnitProperties', 'sba(sv)', slice, 'true', String(properties.length), ...properties.flat());
        // systemd also says so of a slice that it only remembers, of a member that just ended: then it starts here.
        await call('StartUnit', 'ss', slice, 'replace');
      }
    },
    async stop(slice) {
      await call('StopUnit', 'ss', slice, 'replace').catch((error) => {
        if (!/not loaded|NoSuchUnit/.test(String(error))) throw error;
      });
    },
  };
}

/** One D-Bus property: name, type, value, as busctl takes them. */
export type SliceProperty = [name: string, type: string, value: string];

/** Limits as unit properties. */
export function renderSliceProperties(version: 1 | 2, limits: CgroupLimits): SliceProperty[] {
  const properties: SliceProperty[] = [];
  const add = (name: string, value: number | string | undefined) => {
    if (value !== undefined) properties.push([name, 't', value === 'max' ? INFINITY : String(value)]);
  };
  if (limits.cpuShares !== undefined)
    add(version === 1 ? 'CPUShares' : 'CPUWeight', version === 1 ? limits.cpuShares : cpuWeight(limits.cpuShares));
  if (limits.cpuQuotaUs !== undefined) {
    const periodUs = limits.cpuPeriodUs ?? 100_000;
    add('CPUQuotaPeriodUSec', periodUs);
    // systemd keeps quotas per second, in steps of 10 ms: round up, as runc does.
    const perSecond =
      limits.cpuQuotaUs === 'max' ? 'max' : Math.ceil((limits.cpuQuotaUs * 1_000_000) / periodUs / 10_000) * 10_000;
    add('CPUQuotaPerSecUSec', perSecond);
  }
  if (version === 2) {
    add('MemoryMin', limits.memoryMinBytes);
    add('MemoryLow', limits.memoryLowBytes);
    add('MemoryHigh', limits.memoryHighBytes);
  }
  add(version === 1 ? 'MemoryLimit' : 'MemoryMax', limits.memoryBytes);
  if (version === 2) add('MemorySwapMax', limits.swapBytes);
  add('TasksMax', limits.pids);
  return properties;
}

function renderStartTransient(slice: string, limits: SliceProperty[]): string[] {
  const parent = slice.includes('-') ? `${slice.slice(0, slice.lastIndexOf('-'))}.slice` : '-.slice';
  const accounting = ['CPUAccounting', 'MemoryAccounting', 'TasksAccounting'].map((name) => [name, 'b', 'true']);
  const properties = [
    ['Description', 's', `Kubernetes pods: ${slice}`],
    ['Wants', 'as', '1', parent],
    ['DefaultDependencies', 'b', 'false'],
    ...accounting,
    ...limits,
  ];
  return ['ssa(sv)a(sa(sv))', slice, 'replace', String(properties.length), ...properties.flat(), '0'];
}
