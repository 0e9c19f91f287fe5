import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { podKey } from '../containers/identity.ts';
import type { PodSource } from './source.ts';
import { buildStaticPod, ManifestError } from './static-pod.ts';

export interface FileSourceOptions {
  /** `staticPodPath`: a directory, or one file. */
  path: string;
  nodeName: string;
  /** `fileCheckFrequency`, 20 s: the watch may lose events, this cannot. */
  rescanMs: number;
}

/** Editors write in several steps: read when they have finished. */
const SETTLE_MS = 100;

/** Pods from manifests on disk. A bad file is logged by name and field, the others still load. */
export function createFileSource(options: FileSourceOptions, deps: { clock: Clock; log: Logger }): PodSource {
  const { clock, log } = deps;
  /** Problem by file, so that each is logged once and not on every scan. */
  const reported = new Map<string, string>();
  /** By UID: an unchanged manifest stays the very same pod, with the time it was first seen. */
  let known = new Map<string, Pod>();

  function report(file: string, problem: string) {
    if (reported.get(file) !== problem) log.error({ file }, `static pod manifest ignored: ${problem}`);
    reported.set(file, problem);
  }

  async function readManifest(file: string): Promise<Pod | undefined> {
    try {
      return parseManifest(await readFile(file, 'utf8'), {
        nodeName: options.nodeName,
        origin: `file:${file}`,
        nowMs: clock.nowMs(),
      });
    } catch (error) {
      report(file, error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  async function manifestFiles(): Promise<string[]> {
    const info = await stat(options.path).catch((error: NodeJS.ErrnoException) => {
      // No directory: no static pods (it may come later). Anything else must not look like "all pods were removed".
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (!info) return [];
    if (!info.isDirectory()) return [options.path];
    const entries = await readdir(options.path, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.name.startsWith('.') && !entry.isDirectory())
      .map((entry) => join(options.path, entry.name))
      .sort();
  }

  async function scan(): Promise<Pod[]> {
    const pods = new Map<string, Pod>();
    for (const file of await manifestFiles()) {
      const pod = await readManifest(file);
      if (!pod) continue;
      const taken = pods.get(podKey(pod));
      if (taken) {
        report(file, `metadata.name: another manifest makes pod ${podKey(pod)} already`);
        continue;
      }
      reported.delete(file);
      pods.set(podKey(pod), known.get(pod.metadata.uid) ?? pod);
    }
    known = new Map([...pods.values()].map((pod) => [pod.metadata.uid, pod]));
    return [...pods.values()];
  }

  return {
    name: 'file',
    async run(sink, signal) {
      let wake = () => {};
      let watcher: FSWatcher | undefined;
      const startWatch = () => {
        try {
          watcher = watch(options.path, () => wake());
          watcher.on('error', () => {
            watcher?.close();
            watcher = undefined;
          });
        } catch {
          // It does not exist yet: the rescan will find it.
        }
      };
      while (!signal.aborted) {
        if (!watcher) startWatch();
        let changed = false;
        const noticed = new Promise<void>((resolve) => {
          wake = () => {
            changed = true;
            resolve();
          };
        });
        try {
          sink.set(await scan());
        } catch (error) {
          log.error({ path: options.path, err: error }, 'static pod manifests could not be read');
        }
        const nap = new AbortController();
        const end = AbortSignal.any([signal, nap.signal]);
        await Promise.race([noticed, clock.sleep(options.rescanMs, end).catch(() => undefined)]);
        nap.abort();
        if (changed) await clock.sleep(SETTLE_MS, signal).catch(() => undefined);
      }
      watcher?.close();
    },
  };
}

/** One Pod in YAML or JSON. Throws ManifestError that names the line or the field. */
export function parseManifest(text: string, context: Parameters<typeof buildStaticPod>[1]): Pod {
  const documents = parseAllDocuments(text, { uniqueKeys: true });
  const list = Array.isArray(documents) ? documents.filter((document) => document.contents !== null) : [];
  if (list.length !== 1) throw new ManifestError(`expected one document, found ${list.length}`);
  const [problem] = list[0]!.errors;
  if (problem) throw new ManifestError(problem.message.split('\n')[0]!);
  return buildStaticPod(list[0]!.toJS(), context);
}
