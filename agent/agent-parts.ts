import { join } from 'node:path';
import type { EngineInfo } from '../src/docker/engine.ts';
import { findProcessesOfCgroup } from '../src/linux/processes.ts';
import type { AgentDependencies } from './agent.ts';
import type { AgentOptions } from './agent-options.ts';
import { createCrashBackoff } from './containers/crash-backoff.ts';
import { createContainerEnds } from './containers/ends.ts';
import { createContainerExec } from './containers/exec.ts';
import { createLifecycleHooks } from './containers/hooks.ts';
import { createContainerKiller } from './containers/kill.ts';
import { createContainerLauncher } from './containers/launcher.ts';
import { createLogLinks, type LogDirectories } from './containers/log-links.ts';
import { createStartSlots } from './containers/start-slots.ts';
import { buildGarbageCollection } from './gc/build.ts';
import { keptEndedRuns } from './gc/container-plan.ts';
import { buildImageParts } from './images/image-parts.ts';
import { createAdmissionChain } from './pods/admission-chain.ts';
import { createPodExecutor } from './pods/executor.ts';
import { createPasses } from './pods/pass.ts';
import { createRejectionBackoff } from './pods/rejections.ts';
import { buildResizing } from './pods/resize/build.ts';
import { createRuntimeCache, type RuntimeCacheDependencies } from './pods/runtime-cache.ts';
import { createFeaturesHandler, parseEngineFeatures } from './pods/unsupported.ts';
import type { PodWork } from './pods/work.ts';
import { createPodWorkers, type PodWorkers } from './pods/workers.ts';
import { createPodFiles } from './sandbox/pod-files.ts';
import { createSandboxes } from './sandbox/sandbox.ts';
import { isTerminalPhase } from './status/phase.ts';
import { createContainerMounts } from './volumes/container-mounts.ts';
import { createImageVolumePlugin } from './volumes/image-volume.ts';
import { createPodDirectories } from './volumes/pod-directories.ts';
import { createVolumes } from './volumes/volumes.ts';

const BACKOFF_INITIAL_MS = 10_000;
const IMAGE_BACKOFF_MAX_MS = 300_000;

/** Puts the agent's parts together; nothing runs yet. */
export function buildAgentParts(
  options: AgentOptions,
  deps: AgentDependencies & { onRuntimeChange(uid: string): void; onForgotten?(): void } & Pick<
      RuntimeCacheDependencies,
      'onUnreadable' | 'onMissedEvent'
    >,
) {
  const { nodeName } = options;
  // Known only when the Engine has answered; nobody asks before.
  const logDirectories: LogDirectories = {
    pods: options.podLogsDir,
    containers: options.containerLogsDir,
    dockerRoot: '',
  };
  let engineFeatures = parseEngineFeatures([]);
  const directories = createPodDirectories(options.rootDir);
  const logLinks = createLogLinks(logDirectories);
  const runtime = createRuntimeCache({ ...deps, nodeName, onChange: deps.onRuntimeChange });
  const hooks = createLifecycleHooks({
    ...deps,
    exec: createContainerExec(deps.docker),
    nodeIp: options.nodeIps[0],
  });
  const killer = createContainerKiller({ ...deps, hooks });
  const crashes = createCrashBackoff({ initialMs: BACKOFF_INITIAL_MS, maxMs: options.crashLoopMaxMs }, deps.clock);
  const imageBackoff = { initialMs: BACKOFF_INITIAL_MS, maxMs: IMAGE_BACKOFF_MAX_MS };
  const imageParts = buildImageParts(
    { ...options.images, rootDir: options.rootDir, backoff: imageBackoff },
    { ...deps, onUsed: (id) => gc.touchImage(id) },
  );
  const { images } = imageParts;
  const slots = createStartSlots(options.maxParallelStarts, deps.clock);
  const mounts = createContainerMounts({ ...deps, directories });
  const { allocations, oneAtATime, resizes, actuator } = buildResizing({
    ...deps,
    works: () => workers.list(),
    others,
    poke: (uid) => workers.poke(uid),
  });
  const launcher = createContainerLauncher(
    {
      nodeName,
      nodeIps: options.nodeIps,
      log: { maxSizeBytes: options.containerLogMaxSizeBytes, maxFiles: options.containerLogMaxFiles },
      seccompDefault: options.seccompDefault,
      seccompDirectory: join(options.rootDir, 'seccomp'),
      engineFeatures: () => engineFeatures,
    },
    { ...deps, images, runtime, directories, logLinks, hooks, killer, slots, mounts, allocations },
  );
  const sandboxes = createSandboxes(
    { nodeName, pauseImage: options.pauseImage },
    { ...deps, slots, pullImage: imageParts.pullForNode },
  );
  const podFiles = createPodFiles(options, { directories, events: deps.events });
  const ends = createContainerEnds({ ...deps, runtime, killer, findProcesses: findProcessesOfCgroup, killProcess });
  const gc = buildGarbageCollection(options, {
    ...deps,
    runtime,
    ends,
    sandboxes,
    directories,
    imageParts,
    work: (uid) => workers.get(uid),
    engineRoot: () => logDirectories.dockerRoot,
  });
  const executor = createPodExecutor({ ...deps, runtime, sandboxes, launcher, ends, crashes, podFiles, actuator });
  const volumes = createVolumes({
    ...deps,
    directories,
    volumePlugins: [
      createImageVolumePlugin({ nodeName, docker: deps.docker, images, directories }),
      ...(deps.volumePlugins ?? []),
    ],
  });
  const admission = createAdmissionChain(
    { ...deps.admission, features: createFeaturesHandler(() => engineFeatures) },
    deps,
  );
  const passes = createPasses(
    { engineFeatures: () => engineFeatures, keptEndedRuns: keptEndedRuns(options.containerGc) },
    {
      ...deps,
      rejections: createRejectionBackoff(deps.clock),
      runtime,
      executor,
      volumes,
      directories,
      logLinks,
      images,
      crashes,
      admission,
      allocations,
      resizes,
      actuator,
      oneAtATime,
      rejected: (reason) => deps.onRejected?.(reason),
      others,
      works: () => workers.list(),
    },
  );
  const workers: PodWorkers = createPodWorkers(
    { resyncMs: options.resyncMs },
    {
      ...deps,
      passes: () => passes,
      // A pod of the same UID (a manifest that came back) must not inherit the final status.
      onForgotten() {
        deps.status.retain(new Set(workers.list().map(({ uid }) => uid)));
        deps.onForgotten?.();
      },
    },
  );

  /** Pods that hold their share of the node: admitted and not ended. What runs is admitted before any other pod is looked at. */
  function others(work: PodWork) {
    const isOver = ({ uid, state }: PodWork) =>
      state === 'terminated' || state === 'finished' || isTerminalPhase(deps.status.get(uid)?.phase);
    return workers
      .list()
      .filter((other) => other !== work && other.isAdmitted && !isOver(other))
      .map(({ pod }) => allocations.allocatedPod(pod));
  }

  return {
    runtime,
    workers,
    show: passes.show,
    admission,
    allocations,
    resizes,
    images: imageParts,
    gc,
    directories,
    logLinks,
    volumes,
    /** What only the running Engine tells; before any pod is looked at. */
    setEngine(info: Pick<EngineInfo, 'dockerRootDir' | 'securityOptions'>) {
      logDirectories.dockerRoot = info.dockerRootDir;
      engineFeatures = parseEngineFeatures(info.securityOptions);
    },
  };
}

/** A process that has ended meanwhile is what was wanted. */
function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
