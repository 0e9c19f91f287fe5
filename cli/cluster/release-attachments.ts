import { join } from 'node:path';
import { createPodNetwork } from '../../cni/invoke/pod-network.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { type CniFlags, parseBinDirs, parseCniMode } from '../cni/flags.ts';
import { removeIfEmpty } from '../engine/empty-folder.ts';

/**
 * Detaches what Berth has attached to networks on this host, each by the configuration that it was attached with: plugins of others have
 * state that only they know. After the pods are gone. Attachments of other runtimes stay.
 */
export async function releaseAttachments(places: { cni: CniFlags; cniDataDir: string; bridge: string }): Promise<void> {
  const { cni, cniDataDir: dataDir, bridge } = places;
  const network = createPodNetwork(
    {
      mode: parseCniMode(cni.cni),
      confDir: cni.cniConfDir,
      binDirs: parseBinDirs(cni.cniBinDir),
      cacheDir: cni.cniCacheDir,
      dataDir,
      bridge,
      podCidrs: () => [],
    },
    { log: silentLogger, clock: systemClock },
  );
  try {
    await network.collect(new Set());
  } finally {
    network.close();
  }
  for (const folder of [join(cni.cniCacheDir, 'results'), cni.cniCacheDir]) removeIfEmpty(folder);
}
