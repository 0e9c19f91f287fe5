import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DockerEngine } from '../../src/docker/engine.ts';
import type { Clock } from '../../src/runtime/clock.ts';

const PERIOD_MS = 60_000;
const BATCH = 16;

/**
 * What images take on disk. The Engine's own way of telling it (`/system/df`) looks at every container; its layer store notes the size of each
 * layer, which is what counts: images share layers. Where there is no such store, the sizes of the images are added up, shared or not.
 */
export function createImageBytes(
  options: { dockerRoot: string; storageDriver: string },
  deps: { docker: Pick<DockerEngine, 'listImages'>; clock: Clock },
): () => Promise<number | undefined> {
  let known: { bytes: Promise<number | undefined>; atMs: number } | undefined;

  async function measure(): Promise<number | undefined> {
    const store = join(options.dockerRoot, 'image', options.storageDriver, 'layerdb/sha256');
    const layers = await readdir(store).catch(() => undefined);
    if (layers === undefined) {
      const images = await deps.docker.listImages().catch(() => undefined);
      return images?.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    }
    let bytes = 0;
    for (let start = 0; start < layers.length; start += BATCH) {
      const batch = layers.slice(start, start + BATCH);
      const sizes = await Promise.all(
        batch.map((layer) => readFile(join(store, layer, 'size'), 'utf8').catch(() => '0')),
      );
      for (const size of sizes) bytes += Number(size) || 0;
    }
    return bytes;
  }

  return () => {
    const nowMs = deps.clock.monotonicMs();
    if (!known || nowMs - known.atMs >= PERIOD_MS) known = { bytes: measure(), atMs: nowMs };
    return known.bytes;
  };
}
