import type { EngineInfo, EngineVersion } from '../../src/docker/engine.ts';
import { choosePodRuntime } from '../engine/pod-runtime.ts';
import { POD_RUNTIME_NAME } from '../engine/pod-runtime-script.ts';
import { type Finding, isOlder } from './finding.ts';

const OLDEST_ENGINE = '20.10';

/**
 * Flaws of runc by which a container can reach the host, and the first version of each line without them.
 * From the advisories of the project; lines that it no longer keeps have no fix of its own.
 */
const RUNC_FLAWS: { name: string; fixed: Record<string, string>; since: string }[] = [
  { name: 'CVE-2024-21626', fixed: { '1.1': '1.1.12' }, since: '1.2' },
  { name: 'CVE-2025-31133, CVE-2025-52565, CVE-2025-52881', fixed: { '1.2': '1.2.8', '1.3': '1.3.3' }, since: '1.4' },
];

/** What the agent was told, and whether the Engine is one that Berth started. */
export interface EngineUse {
  /** As `--pod-runtime` has it. */
  podRuntime: string;
  isOwn: boolean;
}

/** What the Engine is, and what of it matters to pods. Pure. */
export function judgeEngine(info: EngineInfo, version: EngineVersion, use: EngineUse): Finding[] {
  return [
    isOlder(version.version, OLDEST_ENGINE)
      ? {
          check: 'docker engine',
          state: 'problem',
          detail: version.version,
          remedy: `Berth needs Docker Engine ${OLDEST_ENGINE} or newer (API 1.41)`,
        }
      : { check: 'docker engine', state: 'ok', detail: `${version.version} (API ${version.apiVersion})` },
    judgeCgroups(info),
    info.storageDriver === 'overlay2' || info.storageDriver === 'overlayfs'
      ? { check: 'storage driver', state: 'ok', detail: info.storageDriver }
      : {
          check: 'storage driver',
          state: 'warning',
          detail: info.storageDriver,
          remedy: 'overlay2 starts containers much faster and shares their files in memory',
        },
    info.liveRestore
      ? { check: 'live-restore', state: 'ok', detail: 'containers outlive dockerd' }
      : {
          check: 'live-restore',
          state: 'warning',
          detail: 'off: whoever restarts dockerd ends all pods',
          remedy: 'put { "live-restore": true } into /etc/docker/daemon.json and reload dockerd',
        },
    judgePodRuntime(info, version, use),
    judgeRunc(version.components.runc),
  ];
}

function judgeCgroups({ cgroupDriver, cgroupVersion }: EngineInfo): Finding {
  const detail = `v${cgroupVersion}, driver ${cgroupDriver}`;
  if (cgroupDriver === 'none')
    return {
      check: 'cgroups',
      state: 'problem',
      detail: `${detail}: a rootless Engine without delegation limits nothing`,
      remedy: 'use an Engine that runs as root, or delegate the controllers to it',
    };
  if (cgroupVersion === '1')
    return {
      check: 'cgroups',
      state: 'warning',
      detail: `${detail}: what needs v2 (memory.high, swap limits, pressure figures) is not to be had`,
      remedy: 'boot with systemd.unified_cgroup_hierarchy=1',
    };
  return { check: 'cgroups', state: 'ok', detail };
}

function judgePodRuntime(info: EngineInfo, version: EngineVersion, { podRuntime: choice, isOwn }: EngineUse): Finding {
  const check = 'pod runtime';
  let name: string | undefined;
  try {
    name = choosePodRuntime(choice, info);
  } catch (error) {
    return {
      check,
      state: 'problem',
      detail: (error as Error).message,
      remedy: 'start the agent with one that it has',
    };
  }
  if (name !== undefined) return { check, state: 'ok', detail: `${name} (--pod-runtime ${choice})` };
  if (choice === 'none') return { check, state: 'ok', detail: `${info.defaultRuntime}, as told (--pod-runtime none)` };
  if (info.runtimes.includes(POD_RUNTIME_NAME))
    return {
      check,
      state: 'ok',
      detail: `${info.defaultRuntime}: an Engine that remaps users cannot use ${POD_RUNTIME_NAME}`,
    };
  const gain = isOlder(version.version, '28') ? ', with which a pod starts in two thirds of the time' : '';
  return {
    check,
    state: 'warning',
    detail: `${info.defaultRuntime}: the Engine has no runtime ${POD_RUNTIME_NAME}${gain}`,
    remedy: isOwn
      ? "'berth down' and 'berth up' start the Engine with it; the daemon's log tells if it cannot be run there"
      : "'berth engine-runtime --help' tells how it is registered; restart the agent after that",
  };
}

function judgeRunc(version: string | undefined): Finding {
  const check = 'runc';
  if (version === undefined)
    return { check, state: 'warning', detail: 'the Engine does not tell its version', remedy: "ask 'runc --version'" };
  const flaws = RUNC_FLAWS.filter(({ fixed, since }) => {
    const line = /^\d+\.\d+/.exec(version)?.[0] ?? '';
    return fixed[line] !== undefined ? isOlder(version, fixed[line]) : isOlder(version, since);
  });
  if (flaws.length === 0) return { check, state: 'ok', detail: version };
  return {
    check,
    state: 'warning',
    detail: `${version} is from before the fixes of ${flaws.map(({ name }) => name).join(', ')}`,
    remedy:
      "update it to 1.2.8, 1.3.3 or newer, unless your distribution's changelog names these as fixed in its own version",
  };
}
