import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What must be known of a CSI volume to take it down when pod, claim and volume are long gone; upstream's names. */
export interface VolumeData {
  specVolID: string;
  volumeHandle: string;
  driverName: string;
  nodeName: string;
  /** Name of the VolumeAttachment; '' when the driver attaches nothing. */
  attachmentID: string;
  volumeLifecycleMode: 'Persistent' | 'Ephemeral';
}

const FILE = 'vol_data.json';

/** undefined when there is none; throws when it cannot be read. */
export async function readVolumeData<T = VolumeData>(directory: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(join(directory, FILE), 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`${join(directory, FILE)} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}

/** Whole or not at all: it is what a restarted agent finds its way by. */
export async function writeVolumeData(directory: string, data: object): Promise<void> {
  const path = join(directory, FILE);
  await writeFile(`${path}.tmp`, JSON.stringify(data), { mode: 0o600, flush: true });
  await rename(`${path}.tmp`, path);
}

export async function removeVolumeData(directory: string): Promise<void> {
  await rm(join(directory, FILE), { force: true });
}

/** The CSI volumes of all pods, as the disk has them. */
export async function listVolumeData(podsDirectory: string): Promise<{ directory: string; data: VolumeData }[]> {
  const found: { directory: string; data: VolumeData }[] = [];
  for (const uid of await names(podsDirectory)) {
    const root = join(podsDirectory, uid, 'volumes', 'kubernetes.io~csi');
    for (const name of await names(root)) {
      const directory = join(root, name);
      const data = await readVolumeData(directory);
      if (data) found.push({ directory, data });
    }
  }
  return found;
}

const names = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);
