import { rmSync } from 'node:fs';
import { kubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { LABEL } from '../../agent/containers/identity.ts';
import { createLogLinks } from '../../agent/containers/log-links.ts';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import { removeLogindOverride } from '../../agent/node/shutdown/logind-override.ts';
import { removePodDirectory } from '../../agent/volumes/clean-up.ts';
import { unmountStaged, unmountWithoutDriver } from '../../agent/volumes/persistent/without-driver.ts';
import { createPodDirectories } from '../../agent/volumes/pod-directories.ts';
import { createNodeNetwork } from '../../cni/node/node-network.ts';
import { loadConfig } from '../../src/config/load.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { CniFlags } from '../cni/flags.ts';
import { removeIfEmpty } from '../engine/empty-folder.ts';
import { computeNodeShares, openPodResources } from '../roots/node-resources.ts';
import { removeNodeOverlay } from '../roots/overlay-part.ts';
import { cidrsOf } from './addresses.ts';
import { removeIdleLeases } from './idle-leases.ts';
import { releaseAttachments } from './release-attachments.ts';

export { removeIfEmpty };

/** Where a node keeps what it brought onto the host. */
export interface NodePlaces {
  nodeName: string;
  dockerEndpoint: string;
  cgroupRoot: string;
  /** Pods' directories: `pods/<uid>` below it. */
  kubeletDir: string;
  podLogsDir: string;
  containerLogsDir: string;
  clusterCidr: string;
  serviceCidr: string;
  bridge: string;
  /** The host as it was before. */
  networkState: string;
  cniDataDir: string;
  /** Which network its pods have. */
  cni: CniFlags;
}

/** Containers get SIGTERM and this long; whoever wants more says `kubectl delete` first. */
const CONTAINER_GRACE_SECONDS = 2;

/** Containers of this node, their volumes' mounts, directories, cgroups and log links. Idempotent. */
export async function removePods(places: NodePlaces): Promise<void> {
  const docker = connectDocker(places.dockerEndpoint);
  try {
    await removeContainers(docker, places.nodeName);
    const directories = createPodDirectories(places.kubeletDir);
    await runAll('pods', [
      async () => {
        const uids = await directories.list();
        await runAll(
          'pod directories',
          uids.map((uid) => () => removePodDirectory(directories, uid, unmountWithoutDriver)),
        );
        await unmountStaged(places.kubeletDir);
      },
      () => removeCgroups(places, docker),
      () =>
        createLogLinks({ pods: places.podLogsDir, containers: places.containerLogsDir, dockerRoot: '' }).collect(
          new Set(),
        ),
      () => removeIfEmpty(places.podLogsDir),
      () => removeIfEmpty(places.containerLogsDir),
      () => removeLogindOverride(),
    ]);
  } finally {
    docker.close();
  }
}

/** Links, routes, guards, forward rules; sysctls as they were. After the service rules: emptied tables go with it. */
export async function removeNetwork(places: NodePlaces): Promise<{ modulesLeft: string[] }> {
  const network = createNodeNetwork(
    {
      clusterCidrs: cidrsOf(places.clusterCidr),
      serviceCidrs: cidrsOf(places.serviceCidr),
      bridge: places.bridge,
      stateFile: places.networkState,
    },
    { log: silentLogger, clock: systemClock },
  );
  let modulesLeft: string[] = [];
  await runAll('pod network', [
    () => releaseAttachments(places),
    () => removeNodeOverlay({ log: silentLogger, clock: systemClock }),
    async () => {
      ({ modulesLeft } = await network.remove());
    },
    () => rmSync(places.cniDataDir, { recursive: true, force: true }),
    () => removeIdleLeases(places.cni.cniConfDir),
  ]);
  return { modulesLeft };
}

async function removeContainers(docker: DockerEngine, nodeName: string): Promise<void> {
  const all = await docker.listContainers({ labels: [`${LABEL.node}=${nodeName}`] });
  const sandboxes = all.filter((container) => container.labels[LABEL.dockerType] === 'podsandbox');
  const apps = all.filter((container) => !sandboxes.includes(container));
  const running = apps.filter((container) => container.state === 'running');
  await Promise.all(running.map((container) => docker.stopContainer(container.id, CONTAINER_GRACE_SECONDS)));
  // Sandboxes last: their namespaces hold the others'.
  for (const group of [apps, sandboxes])
    await Promise.all(group.map((container) => docker.removeContainer(container.id, { force: true })));
}

async function removeCgroups(places: NodePlaces, docker: DockerEngine): Promise<void> {
  const config = loadConfig(kubeletConfiguration, {
    flags: [{ flag: '--cgroup-root', field: 'cgroupRoot', value: places.cgroupRoot }],
  });
  const shares = computeNodeShares(config, await readHostFacts('/'));
  const resources = await openPodResources(config, shares, await docker.info());
  await resources.removeAll();
}
