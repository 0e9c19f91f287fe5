import type { PullProgress } from '../../src/docker/engine.ts';

interface Layer {
  status: string;
  downloadedBytes: number;
  totalBytes: number;
}

/** What a pull has done so far, put together from the Engine's lines. */
export interface PullSummary {
  layers: number;
  /** Layers that are unpacked, or were here before. */
  layersDone: number;
  downloadedBytes: number;
  /** Of the layers whose size is known so far; they become known as their download begins. */
  totalBytes: number;
  /** Some layer is being unpacked or verified: work of the node, in which the registry has no part. */
  isUnpacking: boolean;
  /** Nothing is being downloaded because all that is left waits for its turn in the Engine, which downloads a few layers at a time. */
  isQueued: boolean;
  /** For people: the Engine's last line. */
  lastLine: string;
}

const DONE = new Set(['Pull complete', 'Already exists']);
const DOWNLOADED = new Set(['Download complete']);
const QUEUED = 'Waiting';
const UNPACKING = new Set(['Extracting', 'Verifying Checksum']);

/** Folds the lines of one pull. */
export function createPullProgress() {
  const layers = new Map<string, Layer>();
  let lastLine = 'no progress';

  return {
    /** @returns bytes that were downloaded since the last line of this layer */
    add({ layer: id, status, current, total }: PullProgress): number {
      lastLine = id === undefined ? status : `${id}: ${status}${current === undefined ? '' : ` ${current}/${total}`}`;
      if (id === undefined) return 0;
      const before = layers.get(id) ?? { status: '', downloadedBytes: 0, totalBytes: 0 };
      const layer = { ...before, status };
      layers.set(id, layer);
      if (status === 'Downloading') {
        layer.downloadedBytes = current ?? before.downloadedBytes;
        layer.totalBytes = Math.max(before.totalBytes, total ?? 0);
      } else if (status === 'Download complete' || status === 'Extracting')
        layer.downloadedBytes = Math.max(before.downloadedBytes, before.totalBytes);
      // After a retry the count starts over.
      return Math.max(0, layer.downloadedBytes - before.downloadedBytes);
    },
    summary(): PullSummary {
      const all = [...layers.values()];
      const sum = (of: (layer: Layer) => number) => all.reduce((total, layer) => total + of(layer), 0);
      return {
        layers: all.length,
        layersDone: all.filter(({ status }) => DONE.has(status)).length,
        downloadedBytes: sum(({ downloadedBytes }) => downloadedBytes),
        totalBytes: sum(({ totalBytes }) => totalBytes),
        isUnpacking: all.some(({ status }) => UNPACKING.has(status)),
        isQueued:
          all.some(({ status }) => status === QUEUED) &&
          all.every(({ status }) => status === QUEUED || DOWNLOADED.has(status) || DONE.has(status)),
        lastLine,
      };
    },
  };
}

/** `12.0 MiB of 48.5 MiB, 2 of 5 layers`, for events and logs. */
export function describeProgress({ downloadedBytes, totalBytes, layersDone, layers }: PullSummary): string {
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  return `${mib(downloadedBytes)} of ${mib(totalBytes)} downloaded, ${layersDone} of ${layers} layers done`;
}
