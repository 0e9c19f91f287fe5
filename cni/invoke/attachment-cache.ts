import { readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import type { AttachmentKey } from '../types.ts';

/** libcni's; the files are in `results` below it. */
export const DEFAULT_CACHE_DIR = '/var/lib/cni';

/** One attachment as it was made: all that is needed to check it and to undo it, whatever the configuration says by then. */
export interface CachedAttachment extends AttachmentKey {
  network: string;
  netns: string;
  /** The conflist, as JSON text; undefined in files of very old runtimes. */
  configuration: string | undefined;
  args: Readonly<Record<string, string>>;
  capabilityArgs: Readonly<Record<string, unknown>>;
  /** Of the ADD, in the configuration's version; undefined when the ADD failed and could not be undone yet. */
  result: Readonly<Record<string, unknown>> | undefined;
  /** Made by this program, not by another runtime of the host. */
  isOurs: boolean;
  /** Written before the machine was started: no namespace of then is left. */
  isOfEarlierBoot: boolean;
}

/**
 * Attachments in the files that libcni keeps, so that either reads the other's:
 *
 *     <directory>/results/<network>-<containerID>-<ifname>     {kind: cniCacheV1, config (base64), cniArgs, capabilityArgs, result, …}
 *
 * They are held in memory too (a few kB each): the agent asks for addresses without waiting.
 */
export interface AttachmentCache {
  of(containerId: string): CachedAttachment[];
  list(): CachedAttachment[];
  /** On disk when it resolves. */
  put(attachment: CachedAttachment): Promise<void>;
  /** Idempotent. */
  remove(attachment: Pick<CachedAttachment, 'network' | 'containerId' | 'ifname'>): Promise<void>;
  /**
   * Reads what other runtimes of the host have written since, and forgets theirs that is gone. O(new files).
   * @returns theirs that are new
   */
  refresh(): CachedAttachment[];
  /** Files that could not be read, and why. */
  problems: readonly string[];
}

const KIND = 'cniCacheV1';
/** libcni ignores keys that it does not know. */
const RUNTIME = 'berth';

export function openAttachmentCache(directory: string): AttachmentCache {
  const folder = join(directory, 'results');
  const problems: string[] = [];
  const known = new Map(readFiles(folder, namesIn(folder), problems).map((one) => [nameOf(one), one]));

  return {
    problems,
    of: (containerId) => [...known.values()].filter((one) => one.containerId === containerId),
    list: () => [...known.values()],
    async put(attachment) {
      const name = nameOf(attachment);
      const text = renderAttachment(attachment);
      // Renamed into place: a kill leaves a whole file or none.
      const draft = join(folder, `.${name}`);
      try {
        await writeFile(draft, text, { mode: 0o600 });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await writeFile(draft, text, { mode: 0o600 });
      }
      await rename(draft, join(folder, name));
      known.set(name, attachment);
    },
    refresh() {
      const names = new Set(namesIn(folder));
      for (const [name, { isOurs }] of known) if (!isOurs && !names.has(name)) known.delete(name);
      // One that is written just now can be read the next time.
      const fresh = readFiles(
        folder,
        [...names].filter((name) => !known.has(name)),
        [],
      );
      const theirs = fresh.filter(({ isOurs }) => !isOurs);
      for (const one of theirs) known.set(nameOf(one), one);
      return theirs;
    },
    async remove(attachment) {
      const name = nameOf(attachment);
      await rm(join(folder, name), { force: true });
      known.delete(name);
    },
  };
}

const nameOf = ({ network, containerId, ifname }: Pick<CachedAttachment, 'network' | 'containerId' | 'ifname'>) =>
  `${network}-${containerId}-${ifname}`;

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => !name.startsWith('.'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function readFiles(folder: string, names: readonly string[], problems: string[]): CachedAttachment[] {
  const bootMs = Date.now() - uptime() * 1000;
  return names.flatMap((name) => {
    try {
      const file = join(folder, name);
      const attachment = parseAttachment(readFileSync(file, 'utf8'), statSync(file).mtimeMs < bootMs);
      // A file of a runtime from before this format has only the result: its key stands in the name alone, and cannot be told from it.
      // One of another name than it says is somebody's copy.
      return attachment && nameOf(attachment) === name ? [attachment] : [];
    } catch (error) {
      problems.push(`${join(folder, name)}: ${(error as Error).message}`);
      return [];
    }
  });
}

/** Pure. */
export function renderAttachment(attachment: CachedAttachment): string {
  const { args, capabilityArgs, configuration } = attachment;
  return JSON.stringify({
    kind: KIND,
    containerId: attachment.containerId,
    config: Buffer.from(configuration ?? '').toString('base64'),
    ifName: attachment.ifname,
    networkName: attachment.network,
    ...(attachment.netns && { netns: attachment.netns }),
    ...(Object.keys(args).length > 0 && { cniArgs: Object.entries(args) }),
    ...(Object.keys(capabilityArgs).length > 0 && { capabilityArgs }),
    ...(attachment.result && { result: attachment.result }),
    ...(attachment.isOurs && { runtime: RUNTIME }),
  });
}

/** Pure; undefined for what is not of this format. @throws for what is no JSON. */
export function parseAttachment(text: string, isOfEarlierBoot = false): CachedAttachment | undefined {
  const from = JSON.parse(text) as Partial<Record<string, unknown>> | null;
  if (from?.['kind'] !== KIND) return undefined;
  const { containerId, ifName, networkName, netns, config, cniArgs, capabilityArgs, result, runtime } = from;
  if (!isText(containerId) || !isText(ifName) || !isText(networkName))
    throw new Error('containerId, ifName and networkName are missing');
  return {
    containerId,
    ifname: ifName,
    network: networkName,
    netns: isText(netns) ? netns : '',
    configuration: isText(config) ? Buffer.from(config, 'base64').toString('utf8') : undefined,
    args: Object.fromEntries((Array.isArray(cniArgs) ? cniArgs : []) as [string, string][]),
    capabilityArgs: (capabilityArgs ?? {}) as Record<string, unknown>,
    result: result as Record<string, unknown> | undefined,
    isOurs: runtime === RUNTIME,
    isOfEarlierBoot,
  };
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
